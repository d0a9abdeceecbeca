package backplanetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/sseplane/sseplane/backplane"
)

func closeChecks() []check {
	return []check{
		{"ends followers", closeFollowers},
		{"makes every call ErrClosed", closeCalls},
		{"a second time does nothing", closeTwice},
		{"while busy ends everything", closeBusy},
		{"leaves the other nodes alone", closeOthers},
	}
}

func isEnd(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func closeFollowers(e *env) {
	l := e.node()
	from := e.bounds(l).First
	e.producer(l).publish("a")
	idle, other := e.follow(l, from), e.follow(l, from)
	idle.wait(1)
	other.wait(1)
	e.must(l.Close(e.ctx), "Close")
	for _, f := range []*following{idle, other} {
		select {
		case <-f.done:
		default:
			// Follow has returned to its caller, who may not have run yet.
		}
		e.mustBe(f.end(), backplane.ErrClosed, "Follow")
	}
}

func closeCalls(e *env) {
	l := e.node()
	calls := e.calls(e.bounds(l).Last)
	e.must(l.Close(e.ctx), "Close")
	for _, c := range calls {
		e.mustBe(c.run(e.ctx, l), backplane.ErrClosed, "%s", c.name)
	}
}

func closeTwice(e *env) {
	l := e.node()
	e.bounds(l)
	for range 3 {
		e.must(l.Close(e.ctx), "Close")
	}
	unused := e.node()
	e.must(unused.Close(e.ctx), "Close of a log that nobody used")
}

// closeBusy closes a log while every method is under way, then looks at what the
// publishers were told.
func closeBusy(e *env) {
	l, other := e.node(), e.node()
	from := e.bounds(l).First
	e.renew(l, "n", long)
	calls := e.calls(from)
	const publishers = 4
	accepted := make([]int, publishers)
	busy := make(chan struct{}, len(calls)+publishers)
	started := func(n int) {
		if n == 2 {
			busy <- struct{}{}
		}
	}
	e.together(len(calls)+publishers+1, func(i int) error {
		switch {
		case i < publishers:
			p := e.producer(l)
			for n := 1; ; n++ {
				if _, err := p.try(e.ctx, fmt.Sprint(i, "-", n)); err != nil {
					return onlyClosed("Publish", err)
				}
				accepted[i] = n
				started(n)
			}
		case i < publishers+len(calls):
			c := calls[i-publishers]
			if c.name == "Follow" {
				started(2)
			}
			for n := 1; ; n++ {
				if err := c.run(e.ctx, l); err != nil {
					return onlyClosed(c.name, err)
				}
				started(n)
			}
		default:
			for range len(calls) + publishers {
				select {
				case <-busy:
				case <-e.ctx.Done():
					return e.ctx.Err()
				}
			}
			return l.Close(e.ctx)
		}
	})
	in := make(map[string]bool)
	for _, text := range texts(e.readAll(other, from)) {
		in[text] = true
	}
	for i, n := range accepted {
		for j := 1; j <= n; j++ {
			if text := fmt.Sprint(i, "-", j); !in[text] {
				e.Errorf("entry %s was accepted and is not in the log", text)
			}
		}
	}
}

func onlyClosed(what string, err error) error {
	if errors.Is(err, backplane.ErrClosed) {
		return nil
	}
	return fmt.Errorf("%s while the log is closed: %w", what, err)
}

func closeOthers(e *env) {
	l, other := e.node(), e.node()
	from := e.bounds(l).First
	f := e.follow(other, from).connected()
	s := session("s", "c", "n")
	e.renew(l, "n", long)
	e.add(l, s)
	e.producer(l).publish("a")
	e.must(l.Close(e.ctx), "Close")
	f.wait(1)
	e.producer(other).publish("b")
	f.wait(2)
	e.wantSessions(other, s)
}
