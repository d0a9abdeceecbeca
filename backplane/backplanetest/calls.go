package backplanetest

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/sseplane/sseplane/backplane"
)

// call is one use of a method of a log, for checks that concern them all.
type call struct {
	name string
	run  func(ctx context.Context, l backplane.Log) error
}

// calls returns a call of each method but Close. Each of them can be made again and
// again, and at the same time as the others.
func (e *env) calls(at backplane.Position) []call {
	var number atomic.Uint64
	return []call{
		{"Publish", func(ctx context.Context, l backplane.Log) error {
			p := fmt.Sprint("producer", number.Add(1))
			_, err := publish(ctx, l, backplane.Batch{Producer: p, Number: 1, Messages: messages("x")})
			return err
		}},
		{"Follow", func(ctx context.Context, l backplane.Log) error { return l.Follow(ctx, at, ignore{}) }},
		{"Read", func(ctx context.Context, l backplane.Log) error { _, err := l.Read(ctx, at, 1000); return err }},
		{"Tail", func(ctx context.Context, l backplane.Log) error { _, err := l.Tail(ctx, 1000); return err }},
		{"Bounds", func(ctx context.Context, l backplane.Log) error { _, err := l.Bounds(ctx); return err }},
		{"NewEpoch", func(ctx context.Context, l backplane.Log) error { _, err := l.NewEpoch(ctx, "other"); return err }},
		{"Renew", func(ctx context.Context, l backplane.Log) error { return l.Renew(ctx, "n", long) }},
		{"Release", func(ctx context.Context, l backplane.Log) error {
			return l.Release(ctx, fmt.Sprint("node", number.Add(1)))
		}},
		{"Update", func(ctx context.Context, l backplane.Log) error {
			id := fmt.Sprint("s", number.Add(1))
			_, err := l.Update(ctx, "n", []backplane.Session{session(id, "c", "n")}, []string{id})
			return err
		}},
		{"Collect", func(ctx context.Context, l backplane.Log) error { _, err := l.Collect(ctx, "n", 1); return err }},
		{"Settle", func(ctx context.Context, l backplane.Log) error {
			return l.Settle(ctx, "n", endedDebts(session("x", "c", "n")))
		}},
		{"Sessions", func(ctx context.Context, l backplane.Log) error { _, err := list(ctx, l); return err }},
		{"Presence", func(ctx context.Context, l backplane.Log) error { _, err := l.Presence(ctx, "c"); return err }},
		{"Put", func(ctx context.Context, l backplane.Log) error {
			return l.Put(ctx, []backplane.Fact{metadata("c", "x", backplane.Position{})})
		}},
		{"Facts", func(ctx context.Context, l backplane.Log) error { _, err := l.Facts(ctx, "c"); return err }},
	}
}

func contextChecks() []check {
	return []check{
		{"that has ended ends every call", contextEnded},
		{"that ends during a call ends it", contextEnds},
	}
}

func contextEnded(e *env) {
	l := e.node()
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	for _, c := range e.calls(e.bounds(l).Last) {
		e.mustBe(c.run(ctx, l), context.Canceled, "%s", c.name)
	}
	e.bounds(l)
}

// contextEnds ends contexts at all sorts of moments: a call then succeeds or fails
// with the context's error, and the log works on.
func contextEnds(e *env) {
	l := e.node()
	e.renew(l, "n", long)
	calls := e.calls(e.bounds(l).Last)
	e.together(len(calls), func(i int) error {
		for try := range e.heavy(20) {
			ctx, cancel := context.WithTimeout(e.ctx, e.h.Tick/1000*(1<<(try%8)))
			err := calls[i].run(ctx, l)
			ended := ctx.Err()
			cancel()
			if err != nil && (ended == nil || !isEnd(err)) {
				return fmt.Errorf("%s with %v: %w", calls[i].name, ended, err)
			}
		}
		return nil
	})
	for _, c := range calls {
		if c.name != "Follow" {
			e.must(c.run(e.ctx, l), "%s afterwards", c.name)
		}
	}
}
