package backplanetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/sseplane/sseplane/backplane"
)

// following is a call of Follow under way, and what it has delivered.
type following struct {
	e      *env
	cancel context.CancelFunc
	done   chan struct{} // closed when Follow has returned err
	err    error

	inside atomic.Int32 // calls of the follower under way
	// hook, unless nil, is called with each page before Page returns.
	hook func(backplane.Page)

	mu       sync.Mutex // guards what follows
	chain    chain
	linked   bool
	problems []error
	changed  chan struct{} // closed and replaced at each page
}

// follow starts following. The check ends it, or its end does.
func (e *env) follow(l backplane.Log, after backplane.Position) *following {
	return e.followWith(l, after, nil)
}

func (e *env) followWith(l backplane.Log, after backplane.Position, hook func(backplane.Page)) *following {
	ctx, cancel := context.WithCancel(e.ctx)
	f := &following{
		e: e, cancel: cancel, hook: hook,
		done: make(chan struct{}), changed: make(chan struct{}),
		chain: chain{upto: after},
	}
	go func() {
		defer close(f.done)
		f.err = l.Follow(ctx, after, f)
	}()
	e.Cleanup(func() {
		cancel()
		<-f.done
		if err := errors.Join(f.problems...); err != nil {
			e.Error(err)
		}
	})
	return f
}

// Page implements backplane.Follower.
func (f *following) Page(p backplane.Page) {
	f.enter()
	defer f.inside.Add(-1)
	if f.hook != nil {
		f.hook(p)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.linked {
		f.problems = append(f.problems, errors.New("a page came before Link(nil)"))
	}
	if err := f.chain.add(p); err != nil {
		f.problems = append(f.problems, fmt.Errorf("following: %w", err))
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// Link implements backplane.Follower. A healthy bus may well be reported as cut
// off now and then, so it only notes that the bus was reached.
func (f *following) Link(err error) {
	f.enter()
	defer f.inside.Add(-1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.linked = f.linked || err == nil
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *following) enter() {
	if f.inside.Add(1) != 1 {
		f.mu.Lock()
		f.problems = append(f.problems, errors.New("the follower was called from two goroutines at a time"))
		f.mu.Unlock()
	}
}

// until waits until ok, asked with the lock held after each call of the follower.
func (f *following) until(what string, ok func() bool) []backplane.Entry {
	f.e.Helper()
	for {
		f.mu.Lock()
		err := errors.Join(f.problems...)
		got, met, changed := f.chain.entries, ok(), f.changed
		f.mu.Unlock()
		if err != nil {
			f.e.Fatal(err)
		}
		if met {
			return got[:len(got):len(got)]
		}
		select {
		case <-changed:
		case <-f.done:
			f.mu.Lock()
			met = ok()
			f.mu.Unlock()
			if !met {
				f.e.Fatalf("waiting for %s: Follow returned %v", what, f.err)
			}
		case <-f.e.ctx.Done():
			f.e.Fatalf("waiting for %s: have %d entries", what, len(got))
		}
	}
}

// connected waits until the follower has reached the bus.
func (f *following) connected() *following {
	f.e.Helper()
	f.until("Link(nil)", func() bool { return f.linked })
	return f
}

// wait waits for n entries and returns all there are.
func (f *following) wait(n int) []backplane.Entry {
	f.e.Helper()
	return f.until(fmt.Sprint(n, " entries"), func() bool { return len(f.chain.entries) >= n })
}

// reach waits until p has been delivered, and returns all entries.
func (f *following) reach(p backplane.Position) []backplane.Entry {
	f.e.Helper()
	return f.until(fmt.Sprint("position ", p), func() bool { return f.chain.upto.Seq >= p.Seq })
}

// entries returns what has been delivered so far.
func (f *following) entries() []backplane.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.chain.entries[:len(f.chain.entries):len(f.chain.entries)]
}

// end waits until Follow has returned and returns its error.
func (f *following) end() error {
	f.e.Helper()
	select {
	case <-f.done:
		return f.err
	case <-f.e.ctx.Done():
		f.e.Fatal("Follow did not return")
		return nil
	}
}
