package backplanetest

import (
	"fmt"
	"slices"
	"sync"

	"github.com/sseplane/sseplane/backplane"
)

func boundsChecks() []check {
	return []check{
		{"of a new namespace", boundsNew},
		{"many nodes find one first epoch", boundsOneEpoch},
		{"are never stale", boundsFresh},
		{"the first call may be any other", boundsFirstCall},
	}
}

// sane returns an error unless the bounds agree with one another.
func sane(b backplane.Bounds) error {
	if b.Epoch == "" || b.Began.Epoch != b.Epoch || b.First.Epoch != b.Epoch || b.Last.Epoch != b.Epoch {
		return fmt.Errorf("positions of other epochs in %+v", b)
	}
	if b.First.Seq < b.Began.Seq || b.Last.Seq < b.First.Seq {
		return fmt.Errorf("disorder in %+v", b)
	}
	if _, err := backplane.ParsePosition(b.First.String()); err != nil {
		return fmt.Errorf("bounds %+v: %w", b, err)
	}
	return nil
}

func boundsNew(e *env) {
	l := e.node()
	b := e.bounds(l)
	e.must(sane(b), "Bounds")
	positions := e.producer(l).publish("a", "b")
	after := e.bounds(l)
	e.must(sane(after), "Bounds")
	if after.Epoch != b.Epoch || after.Began != b.Began || after.Last.Seq < positions[1].Seq {
		e.Fatalf("before %+v, after %v was published %+v", b, positions, after)
	}
	for _, from := range []backplane.Position{b.Began, b.First, b.Last, after.First} {
		if got := texts(e.readAll(l, from)); !slices.Equal(got, []string{"a", "b"}) {
			e.Errorf("behind %v of %+v: %q", from, b, got)
		}
	}
}

func boundsOneEpoch(e *env) {
	logs := e.nodes(6)
	got := make([]backplane.Bounds, 2*len(logs))
	e.together(len(got), func(i int) (err error) {
		got[i], err = logs[i/2].Bounds(e.ctx)
		return err
	})
	for _, b := range got {
		e.must(sane(b), "Bounds")
		if b.Epoch != got[0].Epoch || b.Began != got[0].Began {
			e.Fatalf("one node found %+v, another %+v", got[0], b)
		}
	}
}

func boundsFresh(e *env) {
	logs := e.nodes(3)
	e.bounds(logs[0])
	var mu sync.Mutex // guards newest
	var newest uint64
	producers := []*producer{e.producer(logs[0]), e.producer(logs[1])}
	e.together(3, func(i int) error {
		for range e.heavy(100) {
			if i < len(producers) {
				positions, err := producers[i].try(e.ctx, "x", "y")
				if err != nil {
					return err
				}
				mu.Lock()
				newest = max(newest, positions[1].Seq)
				mu.Unlock()
				continue
			}
			mu.Lock()
			want := newest
			mu.Unlock()
			b, err := logs[2].Bounds(e.ctx)
			if err != nil {
				return err
			}
			if err := sane(b); err != nil {
				return err
			}
			if b.Last.Seq < want {
				return fmt.Errorf("entry %d was accepted before Bounds was called, which says %+v", want, b)
			}
		}
		return nil
	})
}

// boundsFirstCall uses fresh namespaces without asking for the bounds first.
func boundsFirstCall(e *env) {
	bus := e.h.New(e.T)
	namespace := e.cfg.Namespace
	for name, first := range map[string]func(l backplane.Log) error{
		"Publish": func(l backplane.Log) error {
			_, err := e.producer(l).try(e.ctx, "a")
			return err
		},
		"Tail": func(l backplane.Log) error {
			p, err := l.Tail(e.ctx, 1)
			if err == nil && p.Upto.IsZero() {
				err = fmt.Errorf("the tail ends nowhere: %+v", p)
			}
			return err
		},
		"Renew":    func(l backplane.Log) error { return l.Renew(e.ctx, "n", e.h.Tick) },
		"Release":  func(l backplane.Log) error { return l.Release(e.ctx, "n") },
		"Presence": func(l backplane.Log) error { _, err := l.Presence(e.ctx, "c"); return err },
		"Facts":    func(l backplane.Log) error { _, err := l.Facts(e.ctx, "c"); return err },
		"Collect":  func(l backplane.Log) error { _, err := l.Collect(e.ctx, "n", 1); return err },
		"NewEpoch": func(l backplane.Log) error { _, err := l.NewEpoch(e.ctx, "other"); return err },
		"Sessions": func(l backplane.Log) error {
			for _, err := range l.Sessions(e.ctx) {
				return err
			}
			return nil
		},
	} {
		cfg := e.cfg
		cfg.Namespace = namespace + name
		l := e.open(bus, cfg)
		e.must(first(l), "%s in a new namespace", name)
		e.must(sane(e.bounds(l)), "Bounds after %s", name)
	}
}
