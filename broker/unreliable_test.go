package broker_test

import (
	"context"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
)

// unreliable is one node's way to a bus: it can be cut off, and it counts the calls.
type unreliable struct {
	*backplanetest.Line

	mu    sync.Mutex
	calls map[string]int
}

func newUnreliable(bus backplane.Backplane) *unreliable {
	return &unreliable{Line: backplanetest.NewFaults(bus, 1).Line("line"), calls: make(map[string]int)}
}

// cutOff makes all calls fail, and waits until the node has noticed.
func (u *unreliable) cutOff() {
	u.Cut(backplanetest.Refuse)
	time.Sleep(2 * time.Second)
}

// heal ends the cut, and waits until the node has noticed.
func (u *unreliable) heal() {
	u.Heal()
	time.Sleep(2 * time.Second)
}

func (u *unreliable) count(method string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.calls[method]
}

func (u *unreliable) called(method string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls[method]++
}

func (u *unreliable) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	u.called("Open")
	log, err := u.Line.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &counted{Log: log, u: u}, nil
}

type counted struct {
	backplane.Log
	u *unreliable
}

func (l *counted) Publish(ctx context.Context, b backplane.Batch) ([]backplane.Position, error) {
	l.u.called("Publish")
	return l.Log.Publish(ctx, b)
}

func (l *counted) Read(ctx context.Context, after backplane.Position, maxBytes int) (backplane.Page, error) {
	l.u.called("Read")
	return l.Log.Read(ctx, after, maxBytes)
}

func (l *counted) Bounds(ctx context.Context) (backplane.Bounds, error) {
	l.u.called("Bounds")
	return l.Log.Bounds(ctx)
}

func (l *counted) Presence(ctx context.Context, clients ...string) ([]backplane.Presence, error) {
	l.u.called("Presence")
	return l.Log.Presence(ctx, clients...)
}
