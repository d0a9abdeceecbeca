package backplanetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

func publishChecks() []check {
	return []check{
		{"positions increase in the order of the batch", publishOrder},
		{"data comes back as it was", publishData},
		{"empty data comes back empty and not nil", publishEmptyData},
		{"data is not retained", publishNotRetained},
		{"entries have the time of the bus", publishTime},
		{"a large entry", publishLarge},
		{"several large entries in one batch", publishLargeBatch},
		{"an entry that is too large", publishTooLarge},
		{"many small entries in one batch", publishManySmall},
		{"a batch tried again is appended once", publishAgain},
		{"a batch tried again elsewhere is appended once", publishAgainElsewhere},
		{"a batch tried again after a lost reply is appended once", publishLostReply},
		{"a batch tried again later is appended once", publishAgainLater},
		{"an old batch is ErrOldBatch", publishOldBatch},
		{"producers have numbers of their own", publishProducers},
	}
}

func publishOrder(e *env) {
	l := e.node()
	began := e.bounds(l)
	p := e.producer(l)
	at := began.Last
	for i := range 5 {
		for _, position := range p.publish(numbered(fmt.Sprint(i, "-"), 10)...) {
			e.must(follows(at, position), "batch %d", i)
			at = position
		}
	}
}

func publishData(e *env) {
	l := e.node()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	data := []string{string(every), "\r\n", "\n", "\x00", "data: x\n\n", " ", "{}", strings.Repeat("é", 1000), "\xff\xfe"}
	from := e.bounds(l).Last
	positions := e.producer(l).publish(data...)
	got := e.readAll(e.node(), from)
	if !slices.Equal(texts(got), data) || !slices.Equal(places(got), positions) {
		e.Fatalf("published %q at %v, read %q at %v", data, positions, texts(got), places(got))
	}
}

func publishEmptyData(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	e.producer(l).send(backplane.Message{}, backplane.Message{Data: []byte{}})
	got := e.readAll(l, from)
	followed := e.follow(l, from).wait(2)
	for _, entries := range [][]backplane.Entry{got, followed} {
		if len(entries) != 2 || len(entries[0].Data)+len(entries[1].Data) != 0 {
			e.Fatalf("got %v, want two empty entries", entries)
		}
	}
}

func publishNotRetained(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	f := e.follow(l, from).connected()
	data := []byte("before")
	e.producer(l).send(backplane.Message{Data: data})
	copy(data, "after!")
	if got := texts(e.readAll(l, from)); !slices.Equal(got, []string{"before"}) {
		e.Fatalf("read %q", got)
	}
	if got := texts(f.wait(1)); !slices.Equal(got, []string{"before"}) {
		e.Fatalf("followed %q", got)
	}
}

func publishTime(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	p := e.producer(l)
	p.publish("a")
	e.must(e.pause(20*time.Millisecond), "pause")
	p.publish("b")
	var now time.Time
	entries, err := e.pages(l, from, e.bounds(l).Last, 1<<20, func(p backplane.Page) { now = p.Now })
	e.must(err, "Read")
	a, b := entries[0].Time, entries[1].Time
	if b.Before(a) {
		e.Fatalf("the later entry has the earlier time: %v, %v", a, b)
	}
	if age := now.Sub(b); age < -time.Second || age > e.h.Patience {
		e.Fatalf("an entry just accepted at %v is %v old at %v by the page", b, age, now)
	}
}

func publishLarge(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	data := strings.Repeat("0123456789abcde\n", (e.h.MaxData+15)/16)[:e.h.MaxData]
	f := e.follow(l, from).connected()
	e.producer(l).publish("before", data, "after")
	want := []string{"before", data, "after"}
	if !slices.Equal(texts(f.wait(3)), want) {
		e.Fatal("followed something else than was published")
	}
	if !slices.Equal(texts(e.readAll(l, from)), want) {
		e.Fatal("read something else than was published")
	}
}

func publishLargeBatch(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	var data []string
	for i := range 4 {
		data = append(data, strings.Repeat(string(rune('a'+i)), e.h.MaxData))
	}
	e.producer(l).publish(data...)
	if got := texts(e.follow(l, from).wait(len(data))); !slices.Equal(got, data) {
		e.Fatal("followed something else than was published")
	}
}

func publishTooLarge(e *env) {
	if e.h.TooLarge == 0 {
		e.Skip("the harness knows no size that is too large")
	}
	l := e.node()
	from := e.bounds(l).Last
	p := e.producer(l)
	_, err := p.try(e.ctx, strings.Repeat("x", e.h.TooLarge))
	e.mustBe(err, backplane.ErrTooLarge, "Publish of %d bytes", e.h.TooLarge)
	p.publish("next")
	if got := texts(e.readAll(l, from)); !slices.Equal(got, []string{"next"}) {
		e.Fatalf("the log has %d entries, want the one that fits", len(got))
	}
}

func publishManySmall(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	data := numbered("m", e.heavy(2000))
	positions := e.producer(l).publish(data...)
	got := e.follow(l, from).wait(len(data))
	if !slices.Equal(texts(got), data) || !slices.Equal(places(got), positions) {
		e.Fatal("followed something else than was published")
	}
}

func publishAgain(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	p := e.producer(l)
	first := p.publish("a", "b", "c")
	for range 3 {
		again, err := publish(e.ctx, l, p.last)
		e.must(err, "Publish again")
		if !slices.Equal(again, first) {
			e.Fatalf("first %v, again %v", first, again)
		}
	}
	p.publish("d")
	if got := texts(e.readAll(l, from)); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		e.Fatalf("the log has %q", got)
	}
}

func publishAgainElsewhere(e *env) {
	l, other := e.node(), e.node()
	from := e.bounds(l).Last
	p := e.producer(l)
	first := p.publish("a", "b")
	again, err := publish(e.ctx, other, p.last)
	e.must(err, "Publish on another connection")
	if !slices.Equal(again, first) {
		e.Fatalf("first %v, again %v", first, again)
	}
	if got := texts(e.readAll(other, from)); !slices.Equal(got, []string{"a", "b"}) {
		e.Fatalf("the log has %q", got)
	}
}

// publishLostReply gives up on calls at all sorts of moments, which is what a
// lost connection looks like to the caller.
func publishLostReply(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	p := e.producer(l)
	var want []string
	for i := range e.heavy(100) {
		data := numbered(fmt.Sprint(i, "-"), 1+i%3)
		want = append(want, data...)
		ctx, cancel := context.WithTimeout(e.ctx, time.Duration(i)*20*time.Microsecond)
		maybe, err := p.try(ctx, data...)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			e.Fatalf("Publish that ran out of time: %v", err)
		}
		sure, err := publish(e.ctx, l, p.last)
		e.must(err, "Publish again")
		if maybe != nil && !slices.Equal(maybe, sure) {
			e.Fatalf("first %v, again %v", maybe, sure)
		}
	}
	if got := texts(e.readAll(l, from)); !slices.Equal(got, want) {
		e.Fatalf("the log has %q, want %q", got, want)
	}
}

func publishAgainLater(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	p, other := e.producer(l), e.producer(e.node())
	first := p.publish("a")
	var want = []string{"a"}
	for i := range e.heavy(50) {
		data := fmt.Sprint("other", i)
		other.publish(data)
		want = append(want, data)
	}
	again, err := publish(e.ctx, l, p.last)
	e.must(err, "Publish again")
	if !slices.Equal(again, first) {
		e.Fatalf("first %v, again %v", first, again)
	}
	if got := texts(e.readAll(l, from)); !slices.Equal(got, want) {
		e.Fatalf("the log has %q, want %q", got, want)
	}
}

func publishOldBatch(e *env) {
	l, other := e.node(), e.node()
	from := e.bounds(l).Last
	p := e.producer(l)
	p.publish("a")
	first := p.last
	abandoned := p.batch(messages("never arrived")...)
	p.publish("c")
	for _, log := range []backplane.Log{l, other} {
		for _, b := range []backplane.Batch{first, abandoned} {
			_, err := log.Publish(e.ctx, b)
			e.mustBe(err, backplane.ErrOldBatch, "Publish of batch %d after 3", b.Number)
		}
	}
	p.publish("d")
	if got := texts(e.readAll(l, from)); !slices.Equal(got, []string{"a", "c", "d"}) {
		e.Fatalf("the log has %q", got)
	}
}

func publishProducers(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	var want []string
	for i := range 10 {
		data := fmt.Sprint("of ", i)
		e.producer(l).publish(data)
		want = append(want, data)
	}
	if got := texts(e.readAll(l, from)); !slices.Equal(got, want) {
		e.Fatalf("the log has %q", got)
	}
}
