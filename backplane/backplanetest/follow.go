package backplanetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

func followChecks() []check {
	return []check{
		{"from the beginning", followBeginning},
		{"from any position", followAnyPosition},
		{"new entries arrive", followNew},
		{"entries arrive after a long silence", followSilence},
		{"many followers of many publishers see one sequence", followMany},
		{"several followers on one log", followShared},
		{"a slow follower gets everything, one page at a time", followSlow},
		{"ends with its context while idle", followContextIdle},
		{"ends with its context while busy", followContextBusy},
		{"ends with the deadline of its context", followDeadline},
	}
}

func followBeginning(e *env) {
	l := e.node()
	from := e.bounds(l).First
	want := numbered("m", 20)
	positions := e.producer(l).publish(want...)
	got := e.follow(e.node(), from).wait(20)
	if !slices.Equal(texts(got), want) || !slices.Equal(places(got), positions) {
		e.Fatalf("got %q at %v, want %q at %v", texts(got), places(got), want, positions)
	}
}

func followAnyPosition(e *env) {
	l := e.node()
	from := e.bounds(l).First
	p := e.producer(l)
	positions := []backplane.Position{from}
	var data []string
	for i := range 12 {
		d := numbered(fmt.Sprint(i, "-"), 1+i%3)
		data = append(data, d...)
		positions = append(positions, p.publish(d...)...)
	}
	for i, after := range positions {
		f := e.follow(l, after).connected()
		if i == len(data) {
			break
		}
		if got := texts(f.wait(len(data) - i)); !slices.Equal(got, data[i:]) {
			e.Fatalf("after %v, the position of entry %d: got %q, want %q", after, i, got, data[i:])
		}
	}
}

func followNew(e *env) {
	l, other := e.node(), e.node()
	f := e.follow(l, e.bounds(l).Last).connected()
	p := e.producer(other)
	for i := range e.heavy(50) {
		position := p.publish(fmt.Sprint(i))[0]
		if got := f.wait(i + 1); got[i].Position != position {
			e.Fatalf("entry %d: got %v, want %v", i, got[i].Position, position)
		}
	}
}

func followSilence(e *env) {
	l := e.node()
	f := e.follow(l, e.bounds(l).Last).connected()
	p := e.producer(e.node())
	p.publish("a")
	f.wait(1)
	if e.h.Short {
		e.ticks(1)
	} else {
		e.ticks(7)
	}
	p.publish("b")
	if got := texts(f.wait(2)); !slices.Equal(got, []string{"a", "b"}) {
		e.Fatalf("got %q", got)
	}
}

// followMany lets nodes publish at once while followers begin at different times
// and places, and compares everything with everything.
func followMany(e *env) {
	logs := e.nodes(4)
	from := e.bounds(logs[0]).First
	follow := []*following{e.follow(logs[0], from), e.follow(logs[1], from)}

	batches := e.heavy(100)
	var mu sync.Mutex // guards the next two
	accepted := make(map[backplane.Position]string)
	byNode := make([][]backplane.Position, len(logs))
	producers := make([]*producer, len(logs))
	for i := range producers {
		producers[i] = e.producer(logs[i])
	}
	e.together(len(logs), func(node int) error {
		for i := range batches {
			data := numbered(fmt.Sprintf("%d-%d-", node, i), 1+i%4)
			positions, err := producers[node].try(e.ctx, data...)
			if err != nil {
				return err
			}
			mu.Lock()
			for j, p := range positions {
				accepted[p] = data[j]
				byNode[node] = append(byNode[node], p)
			}
			mu.Unlock()
		}
		return nil
	})
	for node, l := range logs {
		positions := byNode[node]
		follow = append(follow, e.follow(l, positions[len(positions)/2]), e.follow(l, from))
	}

	last := e.bounds(logs[0]).Last
	whole := follow[0].reach(last)
	if len(whole) != len(accepted) {
		e.Fatalf("%d entries accepted, %d followed", len(accepted), len(whole))
	}
	for _, entry := range whole {
		if want, ok := accepted[entry.Position]; !ok || want != string(entry.Data) {
			e.Fatalf("at %v: followed %q, published %q", entry.Position, entry.Data, want)
		}
	}
	for node, positions := range byNode {
		if !slices.IsSortedFunc(positions, func(a, b backplane.Position) int { return int(int64(a.Seq - b.Seq)) }) {
			e.Errorf("the batches of node %d are not in order: %v", node, positions)
		}
	}
	for i, f := range follow[1:] {
		got := f.reach(last)
		rest := whole[len(whole)-min(len(got), len(whole)):]
		if !slices.Equal(texts(got), texts(rest)) || !slices.Equal(places(got), places(rest)) {
			e.Errorf("follower %d has seen another sequence than follower 0", i+1)
		}
	}
	for node := range logs {
		after := byNode[node][len(byNode[node])/2]
		behind := len(whole) - 1 - slices.Index(places(whole), after)
		if got := len(follow[2+2*node].entries()); got != behind {
			e.Errorf("%d entries behind %v, followed %d", behind, after, got)
		}
	}
}

func followShared(e *env) {
	l := e.node()
	from := e.bounds(l).First
	p := e.producer(l)
	first := p.publish(numbered("a", 10)...)
	whole, part := e.follow(l, from), e.follow(l, first[4])
	whole.wait(10)
	part.wait(5)
	whole.cancel()
	e.mustBe(whole.end(), context.Canceled, "Follow")
	p.publish("more")
	if got := texts(part.wait(6)); !slices.Equal(got, []string{"a5", "a6", "a7", "a8", "a9", "more"}) {
		e.Fatalf("got %q", got)
	}
}

func followSlow(e *env) {
	l := e.node()
	from := e.bounds(l).First
	gate := make(chan struct{})
	entered := make(chan struct{}, 1)
	f := e.followWith(l, from, func(backplane.Page) {
		select {
		case entered <- struct{}{}:
		default:
		}
		select {
		case <-gate:
		case <-e.ctx.Done():
		}
	})
	p := e.producer(e.node())
	p.publish("first")
	select {
	case <-entered:
	case <-e.ctx.Done():
		e.Fatal("no page came")
	}
	want := []string{"first"}
	for i := range e.heavy(100) {
		data := numbered(fmt.Sprint(i, "-"), 10)
		p.publish(data...)
		want = append(want, data...)
	}
	if got := f.entries(); len(got) != 0 {
		e.Fatalf("%d entries went past a follower that had not returned", len(got))
	}
	close(gate)
	if got := texts(f.wait(len(want))); !slices.Equal(got, want) {
		e.Fatalf("got %q, want %q", got, want)
	}
}

func followContextIdle(e *env) {
	l := e.node()
	f := e.follow(l, e.bounds(l).Last).connected()
	f.cancel()
	e.mustBe(f.end(), context.Canceled, "Follow")
}

func followContextBusy(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	p := e.producer(e.node())
	f := e.follow(l, from).connected()
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := p.try(e.ctx, numbered("m", 10)...); err != nil {
				done <- err
				return
			}
		}
	}()
	f.wait(50)
	f.cancel()
	e.mustBe(f.end(), context.Canceled, "Follow")
	close(stop)
	e.must(<-done, "Publish")
	before := len(f.entries())
	p.publish("late")
	if after := len(f.entries()); after != before {
		e.Fatalf("%d entries came after Follow had returned", after-before)
	}
}

func followDeadline(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	ctx, cancel := context.WithTimeout(e.ctx, 100*time.Millisecond)
	defer cancel()
	if err := l.Follow(ctx, from, ignore{}); !errors.Is(err, context.DeadlineExceeded) {
		e.Fatalf("got error %v", err)
	}
}

// ignore is a follower that does nothing.
type ignore struct{}

func (ignore) Page(backplane.Page) {}
func (ignore) Link(error)          {}
