package backplanetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sseplane/sseplane/backplane"
)

func readChecks() []check {
	return []check{
		{"pages by bytes", readPages},
		{"an entry larger than the page comes alone", readLargerThanPage},
		{"from any position", readAnyPosition},
		{"nothing behind the end", readEnd},
		{"while others publish", readBusy},
		{"the tail of an empty log", tailEmpty},
		{"the tail by bytes", tailBytes},
		{"following continues the tail", tailFollow},
		{"the tail while others publish", tailBusy},
	}
}

// hundreds publishes n entries of 100 bytes.
func (e *env) hundreds(l backplane.Log, n int) ([]backplane.Position, []string) {
	e.Helper()
	data := make([]string, n)
	for i := range data {
		data[i] = fmt.Sprintf("%-100d", i)
	}
	return e.producer(l).publish(data...), data
}

func readPages(e *env) {
	l := e.node()
	from := e.bounds(l).First
	positions, data := e.hundreds(l, 20)
	for _, maxBytes := range []int{1, 99, 100, 101, 350, 1999, 2000, 1 << 20} {
		perPage := max(1, min(20, maxBytes/100))
		var sizes []int
		entries, err := e.pages(l, from, positions[19], maxBytes, func(p backplane.Page) {
			sizes = append(sizes, len(p.Entries))
		})
		e.must(err, "Read of %d bytes", maxBytes)
		if !slices.Equal(texts(entries), data) || !slices.Equal(places(entries), positions) {
			e.Errorf("read %q in pages of %d bytes", texts(entries), maxBytes)
		}
		if slices.Max(sizes) > perPage {
			e.Errorf("pages of %d bytes have %v entries of 100 bytes", maxBytes, sizes)
		}
	}
	e.eventually("a page has as many entries as fit", func() (bool, any) {
		p, err := l.Read(e.ctx, from, 350)
		e.must(err, "Read")
		return len(p.Entries) == 3, len(p.Entries)
	})
}

func readLargerThanPage(e *env) {
	l := e.node()
	from := e.bounds(l).First
	data := []string{"a", strings.Repeat("b", 10_000), "c"}
	positions := e.producer(l).publish(data...)
	for _, maxBytes := range []int{0, 1, 100} {
		entries, err := e.pages(l, from, positions[2], maxBytes, nil)
		e.must(err, "Read of %d bytes", maxBytes)
		if !slices.Equal(texts(entries), data) {
			e.Errorf("%d entries read in pages of %d bytes", len(entries), maxBytes)
		}
	}
}

func readAnyPosition(e *env) {
	l := e.node()
	from := e.bounds(l).First
	positions, data := e.hundreds(l, 10)
	other := e.node()
	for i, after := range append([]backplane.Position{from}, positions...) {
		entries, err := e.pages(other, after, positions[9], 250, nil)
		e.must(err, "Read after entry %d", i)
		if !slices.Equal(texts(entries), data[i:]) {
			e.Errorf("after entry %d: read %q", i, texts(entries))
		}
	}
}

func readEnd(e *env) {
	l := e.node()
	for range 3 {
		last := e.bounds(l).Last
		// The bus may have put a mark of its own there meanwhile.
		p, err := l.Read(e.ctx, last, 1000)
		e.must(err, "Read after the end")
		if p.After != last || len(p.Entries) != 0 && p.Entries[0].Data != nil {
			e.Fatalf("behind the end %v: %+v", last, p)
		}
		e.producer(l).publish("x")
	}
}

func readBusy(e *env) {
	logs := e.nodes(3)
	from := e.bounds(logs[0]).First
	n := e.heavy(50)
	p, q := e.producer(logs[0]), e.producer(logs[1])
	e.together(3, func(i int) error {
		if i == 2 {
			c := chain{upto: from}
			for len(c.entries) < n {
				page, err := logs[2].Read(e.ctx, c.upto, 10)
				if err = errors.Join(err, c.add(page)); err != nil {
					return err
				}
			}
			return nil
		}
		for j := range n {
			if _, err := []*producer{p, q}[i].try(e.ctx, fmt.Sprint(i, "-", j)); err != nil {
				return err
			}
		}
		return nil
	})
	if got := e.readAll(logs[2], from); len(got) != 2*n {
		e.Fatalf("read %d of %d entries", len(got), 2*n)
	}
}

// tail asks for the tail until its end is last, and checks it.
func (e *env) tail(l backplane.Log, maxBytes int, last backplane.Position) backplane.Page {
	e.Helper()
	var page backplane.Page
	e.eventually(fmt.Sprint("the tail ends at ", last), func() (bool, any) {
		var err error
		page, err = l.Tail(e.ctx, maxBytes)
		e.must(err, "Tail")
		c := chain{upto: page.After}
		e.must(c.add(page), "Tail")
		if size := sizeOf(page.Entries); size > max(maxBytes, 0) {
			e.Fatalf("a tail of at most %d bytes has %d", maxBytes, size)
		}
		return page.Upto.Seq >= last.Seq, page.Upto
	})
	return page
}

func tailEmpty(e *env) {
	l := e.node()
	p := e.tail(l, 1000, e.bounds(l).Last)
	if len(texts(p.Entries)) != 0 || p.Upto.IsZero() {
		e.Fatalf("got %+v", p)
	}
	e.producer(l).publish("a")
	if got := texts(e.follow(l, p.Upto).wait(1)); !slices.Equal(got, []string{"a"}) {
		e.Fatalf("after the tail came %q", got)
	}
}

func tailBytes(e *env) {
	l := e.node()
	positions, data := e.hundreds(l, 20)
	for _, maxBytes := range []int{0, 99, 100, 101, 550, 1999, 2000, 1 << 20} {
		n := min(20, maxBytes/100)
		p := e.tail(l, maxBytes, positions[19])
		if !slices.Equal(texts(p.Entries), data[20-n:]) {
			e.Errorf("the tail of %d bytes has %d entries, want %d", maxBytes, len(p.Entries), n)
			continue
		}
		entries, err := e.pages(l, p.After, p.Upto, 1<<20, nil)
		e.must(err, "Read after the tail's beginning")
		if !slices.Equal(texts(entries), data[20-n:]) {
			e.Errorf("behind the beginning of a tail of %d entries there are %d", n, len(entries))
		}
	}
}

func tailFollow(e *env) {
	l := e.node()
	positions, _ := e.hundreds(l, 5)
	p := e.tail(l, 250, positions[4])
	f := e.follow(l, p.Upto)
	e.producer(e.node()).publish("a", "b")
	if got := texts(f.wait(2)); !slices.Equal(got, []string{"a", "b"}) {
		e.Fatalf("after the tail came %q", got)
	}
}

// tailBusy joins tails that were taken at any moment with what follows them.
func tailBusy(e *env) {
	logs := e.nodes(2)
	from := e.bounds(logs[0]).First
	p := e.producer(logs[0])
	n := e.heavy(100)
	var tails []backplane.Page
	e.together(2, func(i int) error {
		if i == 0 {
			for j := range n {
				if _, err := p.try(e.ctx, fmt.Sprint(j)); err != nil {
					return err
				}
			}
			return nil
		}
		for range 10 {
			page, err := logs[1].Tail(e.ctx, 20)
			if err != nil {
				return err
			}
			tails = append(tails, page)
		}
		return nil
	})
	whole := e.readAll(logs[0], from)
	for _, t := range tails {
		rest, err := e.pages(logs[1], t.Upto, whole[n-1].Position, 1<<20, nil)
		e.must(err, "Read after a tail")
		joined := append(texts(t.Entries), texts(rest)...)
		if want := texts(whole)[n-len(joined):]; !slices.Equal(joined, want) {
			e.Fatalf("a tail of %d entries and %d behind it are not the end of the log", len(t.Entries), len(rest))
		}
	}
}
