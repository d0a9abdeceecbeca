package broker_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// unreliable is a bus that can be cut off for one node, and that counts its calls.
type unreliable struct {
	backplane.Backplane

	mu      sync.Mutex
	cut     bool
	changed chan struct{} // closed when cut changes
	calls   map[string]int
}

var errCut = errors.New("the bus is cut off")

func newUnreliable(bus backplane.Backplane) *unreliable {
	return &unreliable{Backplane: bus, changed: make(chan struct{}), calls: make(map[string]int)}
}

func (u *unreliable) set(cut bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cut = cut
	close(u.changed)
	u.changed = make(chan struct{})
}

func (u *unreliable) cutOff() { u.set(true) }
func (u *unreliable) heal()   { u.set(false) }

func (u *unreliable) count(method string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.calls[method]
}

func (u *unreliable) call(method string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls[method]++
	if u.cut {
		return errCut
	}
	return nil
}

func (u *unreliable) state() (cut bool, changed <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.cut, u.changed
}

func (u *unreliable) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	if err := u.call("Open"); err != nil {
		return nil, err
	}
	log, err := u.Backplane.Open(ctx, cfg)
	return &unreliableLog{Log: log, u: u}, err
}

type unreliableLog struct {
	backplane.Log
	u *unreliable
}

func (l *unreliableLog) Publish(ctx context.Context, b backplane.Batch) ([]backplane.Position, error) {
	if err := l.u.call("Publish"); err != nil {
		return nil, err
	}
	return l.Log.Publish(ctx, b)
}

func (l *unreliableLog) Read(ctx context.Context, after backplane.Position, maxBytes int) (backplane.Page, error) {
	if err := l.u.call("Read"); err != nil {
		return backplane.Page{}, err
	}
	return l.Log.Read(ctx, after, maxBytes)
}

func (l *unreliableLog) Tail(ctx context.Context, maxBytes int) (backplane.Page, error) {
	if err := l.u.call("Tail"); err != nil {
		return backplane.Page{}, err
	}
	return l.Log.Tail(ctx, maxBytes)
}

func (l *unreliableLog) Bounds(ctx context.Context) (backplane.Bounds, error) {
	if err := l.u.call("Bounds"); err != nil {
		return backplane.Bounds{}, err
	}
	return l.Log.Bounds(ctx)
}

func (l *unreliableLog) Renew(ctx context.Context, node string, ttl time.Duration) error {
	if err := l.u.call("Renew"); err != nil {
		return err
	}
	return l.Log.Renew(ctx, node, ttl)
}

func (l *unreliableLog) Release(ctx context.Context, node string) error {
	if err := l.u.call("Release"); err != nil {
		return err
	}
	return l.Log.Release(ctx, node)
}

func (l *unreliableLog) Update(ctx context.Context, node string, add []backplane.Session, end []string) (backplane.UpdateResult, error) {
	if err := l.u.call("Update"); err != nil {
		return backplane.UpdateResult{}, err
	}
	return l.Log.Update(ctx, node, add, end)
}

func (l *unreliableLog) Collect(ctx context.Context, node string, limit int) ([]backplane.Debt, error) {
	if err := l.u.call("Collect"); err != nil {
		return nil, err
	}
	return l.Log.Collect(ctx, node, limit)
}

func (l *unreliableLog) Settle(ctx context.Context, node string, debts []backplane.Debt) error {
	if err := l.u.call("Settle"); err != nil {
		return err
	}
	return l.Log.Settle(ctx, node, debts)
}

func (l *unreliableLog) Presence(ctx context.Context, clients ...string) ([]backplane.Presence, error) {
	if err := l.u.call("Presence"); err != nil {
		return nil, err
	}
	return l.Log.Presence(ctx, clients...)
}

func (l *unreliableLog) Put(ctx context.Context, facts []backplane.Fact) error {
	if err := l.u.call("Put"); err != nil {
		return err
	}
	return l.Log.Put(ctx, facts)
}

func (l *unreliableLog) Facts(ctx context.Context, clients ...string) ([]backplane.Fact, error) {
	if err := l.u.call("Facts"); err != nil {
		return nil, err
	}
	return l.Log.Facts(ctx, clients...)
}

func (l *unreliableLog) Sessions(ctx context.Context, clients ...string) iter.Seq2[backplane.Session, error] {
	if err := l.u.call("Sessions"); err != nil {
		return func(yield func(backplane.Session, error) bool) { yield(backplane.Session{}, err) }
	}
	return l.Log.Sessions(ctx, clients...)
}

// Follow follows while the bus is not cut off, and goes on where it stopped.
func (l *unreliableLog) Follow(ctx context.Context, after backplane.Position, to backplane.Follower) error {
	f := &cutFollower{Follower: to, at: after, u: l.u}
	for {
		cut, changed := l.u.state()
		if cut {
			to.Link(errCut)
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		f.cut = false
		inner, cancel := context.WithCancelCause(ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			select {
			case <-changed:
				cancel(errCut)
			case <-inner.Done():
			}
		}()
		err := l.Log.Follow(inner, f.at, f)
		cause := context.Cause(inner)
		cancel(nil)
		<-watched
		if !errors.Is(cause, errCut) {
			return err
		}
	}
}

// cutFollower takes nothing from the moment of the cut on.
type cutFollower struct {
	backplane.Follower
	u   *unreliable
	at  backplane.Position
	cut bool
}

func (f *cutFollower) Page(p backplane.Page) {
	if cut, _ := f.u.state(); cut || f.cut {
		f.cut = true
		return
	}
	f.at = p.Upto
	f.Follower.Page(p)
}
