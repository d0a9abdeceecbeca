package backplanetest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

func retentionChecks() []check {
	return []check{
		{"by bytes", retentionBytes},
		{"by age", retentionAge},
		{"the newest entry stays whatever its size", retentionNewestLarge},
		{"the newest entry stays whatever its age", retentionNewestOld},
		{"a follower that keeps up is not disturbed", retentionKeepsUp},
		{"a follower that is passed over is told", retentionPassedOver},
		{"trimming while following at any speed", retentionFollowing},
		{"trimming while reading", retentionReading},
	}
}

// What checks of the retention by bytes publish: entries of 1000 bytes, in a log
// that keeps some 30 of them, so that the overhead hardly counts.
const (
	keptBytes  = 32 << 10
	entryBytes = 1000
)

// counted is the data of the i-th entry.
func counted(i int) string {
	s := strconv.Itoa(i)
	return s + strings.Repeat(" ", entryBytes-len(s))
}

// run returns an error unless the entries are counted without a hole, and
// returns the first and the number behind the last.
func run(entries []backplane.Entry) (first, end int, err error) {
	for i, entry := range entries {
		n, err := strconv.Atoi(strings.TrimSpace(string(entry.Data)))
		if err != nil {
			return 0, 0, err
		}
		if i == 0 {
			first = n
		} else if n != end {
			return 0, 0, fmt.Errorf("entry %d is behind entry %d", n, end-1)
		}
		end = n + 1
	}
	return first, end, nil
}

func (e *env) keepFew() {
	e.cfg.RetentionBytes = keptBytes
}

// untilTrimmed publishes counted entries from the i-th on until the log begins behind
// p, and returns the number of the next.
func (e *env) untilTrimmed(prod *producer, p backplane.Position, i int) int {
	e.Helper()
	e.eventually(fmt.Sprint("the log begins behind ", p), func() (bool, any) {
		for range 10 {
			prod.publish(counted(i))
			i++
		}
		b := e.bounds(prod.log)
		e.must(sane(b), "Bounds")
		return b.First.Seq > p.Seq, b
	})
	return i
}

func retentionBytes(e *env) {
	e.keepFew()
	l := e.node()
	from := e.bounds(l).First
	p := e.producer(l)
	first := p.publish(counted(0))[0]
	n := e.untilTrimmed(p, first, 1)
	for range 100 {
		p.publish(counted(n))
		n++
	}
	for _, gone := range []backplane.Position{from, first} {
		e.isTrimmed(l, gone)
		f := e.follow(l, gone)
		e.mustBe(f.end(), backplane.ErrTrimmed, "Follow after %v", gone)
		if got := f.entries(); len(got) > 0 {
			e.Errorf("%d entries came before ErrTrimmed", len(got))
		}
	}
	entries := e.readKept(l)
	_, end, err := run(entries)
	e.must(err, "Read of what is kept")
	if end != n {
		e.Fatalf("%d entries were published, the last kept is number %d", n, end-1)
	}
	if size := sizeOf(entries); size > keptBytes || size < keptBytes/4 {
		e.Fatalf("%d bytes are kept of %d", size, keptBytes)
	}
	tail := e.tail(l, 1<<20, entries[len(entries)-1].Position)
	kept, last := texts(entries), texts(tail.Entries) // a mark of the bus may have trimmed some between the two calls
	if len(last) > len(kept) || !slices.Equal(last, kept[len(kept)-len(last):]) || sizeOf(tail.Entries) < keptBytes/4 {
		e.Fatalf("the tail has %d entries, %d are kept", len(last), len(kept))
	}
}

// isTrimmed waits until reading behind p is ErrTrimmed: a stale page may come
// before that.
func (e *env) isTrimmed(l backplane.Log, p backplane.Position) {
	e.Helper()
	e.eventually(fmt.Sprint("Read after ", p, " is ErrTrimmed"), func() (bool, any) {
		_, err := l.Read(e.ctx, p, 1)
		if err != nil {
			e.mustBe(err, backplane.ErrTrimmed, "Read")
		}
		return err != nil, err
	})
}

func retentionAge(e *env) {
	e.cfg.RetentionAge = 2 * e.h.Tick
	l := e.node()
	from := e.bounds(l).First
	p := e.producer(l)
	began := time.Now()
	kept := p.publish("old", "old too")
	got, err := e.pages(l, from, kept[1], 1<<20, nil)
	if (err != nil || len(got) != 2) && time.Since(began) < e.cfg.RetentionAge {
		e.Fatalf("%d of 2 entries are kept before their time is over: %v", len(got), err)
	}
	e.eventually("what is old is trimmed", func() (bool, any) {
		p.publish("new")
		e.must(e.pause(e.h.Tick/4), "pause")
		b := e.bounds(l)
		e.must(sane(b), "Bounds")
		return b.First.Seq >= kept[1].Seq, b
	})
	e.isTrimmed(l, from)
	if early := e.cfg.RetentionAge - 50*time.Millisecond - time.Since(began); early > 0 {
		e.Fatalf("trimmed %v before its time", early)
	}
	for _, text := range texts(e.readKept(l)) {
		if text != "new" {
			e.Fatalf("%q is still there", text)
		}
	}
}

func retentionNewestLarge(e *env) {
	e.keepFew()
	l := e.node()
	p := e.producer(l)
	for i := range 3 {
		large := strings.Repeat(strconv.Itoa(i), 2*keptBytes)
		position := p.publish("small", large)[1]
		if got := e.tail(l, 1<<20, position).Entries; len(got) == 0 || string(got[len(got)-1].Data) != large {
			e.Fatalf("round %d: the newest entry is not there", i)
		}
	}
}

func retentionNewestOld(e *env) {
	e.cfg.RetentionAge = e.h.Tick
	l := e.node()
	p := e.producer(l)
	positions := p.publish("older", "newest")
	e.ticks(4)
	tail := e.tail(l, 1<<20, positions[1])
	if got := texts(tail.Entries); len(got) == 0 || got[len(got)-1] != "newest" {
		e.Fatalf("the newest entry is not there: %q", got)
	}
	before := positions[0]
	if first := e.bounds(l).First; first.Seq > before.Seq {
		before = first // a mark of the bus stood between the two, and is gone
	}
	if got := texts(e.readAll(l, before)); !slices.Equal(got, []string{"newest"}) {
		e.Fatalf("behind its predecessor: %q", got)
	}
	if got := e.readAll(l, positions[1]); len(got) != 0 {
		e.Fatalf("behind it: %q", texts(got))
	}
	p.publish("next")
	if got := texts(e.follow(l, positions[1]).wait(1)); !slices.Equal(got, []string{"next"}) {
		e.Fatalf("following it: %q", got)
	}
}

func retentionKeepsUp(e *env) {
	e.keepFew()
	l := e.node()
	f := e.follow(e.node(), e.bounds(l).First).connected()
	p := e.producer(l)
	n := e.heavy(300)
	for i := range n {
		p.publish(counted(i))
		f.wait(i + 1)
	}
	_, end, err := run(f.entries())
	e.must(err, "Follow")
	if end != n {
		e.Fatalf("followed up to %d of %d", end, n)
	}
}

// retentionPassedOver holds a follower in its first page until everything behind
// that, and much more than a driver may have fetched ahead, is trimmed.
func retentionPassedOver(e *env) {
	e.keepFew()
	l := e.node()
	gate := make(chan struct{})
	f := e.followWith(e.node(), e.bounds(l).First, func(backplane.Page) {
		select {
		case <-gate:
		case <-e.ctx.Done():
		}
	})
	f.connected()
	p := e.producer(l)
	i := 0
	for range 3 {
		i = e.untilTrimmed(p, p.publish(counted(i))[0], i+1)
	}
	close(gate)
	// It may have fetched some ahead: then these come without a hole.
	for {
		select {
		case <-f.done:
			e.mustBe(f.err, backplane.ErrTrimmed, "Follow")
		case <-e.ctx.Done():
			e.Fatal("Follow neither reached the end nor returned")
		case <-time.After(10 * time.Millisecond):
		}
		entries := f.entries()
		first, end, err := run(entries)
		e.must(err, "Follow")
		if first != 0 {
			e.Fatalf("the first entry followed is number %d", first)
		}
		if end == i || errors.Is(f.finished(), backplane.ErrTrimmed) {
			return
		}
	}
}

// finished returns the error of Follow if it has returned.
func (f *following) finished() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

func retentionFollowing(e *env) {
	e.keepFew()
	l := e.node()
	from := e.bounds(l).First
	var follow []*following
	for i := range 6 {
		delay := time.Duration(i*i) * time.Millisecond
		follow = append(follow, e.followWith(e.node(), from, func(backplane.Page) { _ = e.pause(delay) }))
		follow[i].connected()
	}
	p := e.producer(l)
	n := e.heavy(500)
	for i := 0; i < n; i += 10 {
		var data []string
		for j := range 10 {
			data = append(data, counted(i+j))
		}
		p.publish(data...)
	}
	last := e.bounds(l).Last
	for i, f := range follow {
		e.eventually("the follower is at the end or knows that it cannot be", func() (bool, any) {
			if err := f.finished(); err != nil {
				e.mustBe(err, backplane.ErrTrimmed, "Follow")
				return true, nil
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.chain.upto.Seq >= last.Seq, f.chain.upto
		})
		first, _, err := run(f.entries())
		e.must(err, "follower %d", i)
		if first != 0 {
			e.Fatalf("follower %d begins with entry %d", i, first)
		}
	}
}

func retentionReading(e *env) {
	e.keepFew()
	l, reader := e.node(), e.node()
	p := e.producer(l)
	p.publish(counted(0))
	n := e.heavy(500)
	e.together(2, func(i int) error {
		if i == 0 {
			for i := 1; i <= n; i++ {
				if _, err := p.try(e.ctx, counted(i)); err != nil {
					return err
				}
			}
			return nil
		}
		for end := 0; end <= n; {
			b, err := reader.Bounds(e.ctx)
			if err != nil {
				return err
			}
			entries, err := e.pages(reader, b.First, b.Last, 3*entryBytes, nil)
			if err != nil && !errors.Is(err, backplane.ErrTrimmed) {
				return err
			}
			_, upto, err := run(entries)
			if err != nil {
				return err
			}
			end = max(end, upto)
		}
		return nil
	})
}
