package main

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// errKilled is what a killed replica gets of its bus.
var errKilled = errors.New("this replica has been killed")

// mortal is a bus as seen by one replica that can be killed. Then no call of the
// replica reaches the bus any more, not even a goodbye: for the others on the bus it
// is a process that died.
type mortal struct {
	backplane.Backplane
	dead context.Context // ends when the replica is killed
	kill context.CancelFunc
}

func newMortal(bus backplane.Backplane) *mortal {
	m := &mortal{Backplane: bus}
	m.dead, m.kill = context.WithCancel(context.Background())
	return m
}

func (m *mortal) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	var log backplane.Log
	err := m.call(ctx, func(ctx context.Context) (err error) {
		log, err = m.Backplane.Open(ctx, cfg)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &mortalLog{Log: log, mortal: m}, nil
}

// call runs a call to the bus, which fails when the replica is dead, or dies.
func (m *mortal) call(ctx context.Context, do func(context.Context) error) error {
	if m.dead.Err() != nil {
		return errKilled
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.dead, cancel)()
	err := do(ctx)
	if m.dead.Err() != nil {
		return errKilled // also in place of success: the dead hear nothing
	}
	return err
}

// mortalHandler is the log of a replica, which the dead do not write to either.
type mortalHandler struct {
	slog.Handler
	dead context.Context
}

func (h mortalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.dead.Err() == nil && h.Handler.Enabled(ctx, level)
}

// mortalLog is the log of a mortal. Close is the bus's own: it says nothing to others.
type mortalLog struct {
	backplane.Log
	mortal *mortal
}

func (l *mortalLog) Publish(ctx context.Context, b backplane.Batch) (positions []backplane.Position, err error) {
	err = l.mortal.call(ctx, func(ctx context.Context) (err error) {
		positions, err = l.Log.Publish(ctx, b)
		return err
	})
	return positions, err
}

func (l *mortalLog) Follow(ctx context.Context, after backplane.Position, to backplane.Follower) error {
	return l.mortal.call(ctx, func(ctx context.Context) error { return l.Log.Follow(ctx, after, to) })
}

func (l *mortalLog) Read(ctx context.Context, after backplane.Position, maxBytes int) (page backplane.Page, err error) {
	err = l.mortal.call(ctx, func(ctx context.Context) (err error) {
		page, err = l.Log.Read(ctx, after, maxBytes)
		return err
	})
	return page, err
}

func (l *mortalLog) Tail(ctx context.Context, maxBytes int) (page backplane.Page, err error) {
	err = l.mortal.call(ctx, func(ctx context.Context) (err error) {
		page, err = l.Log.Tail(ctx, maxBytes)
		return err
	})
	return page, err
}

func (l *mortalLog) Bounds(ctx context.Context) (bounds backplane.Bounds, err error) {
	err = l.mortal.call(ctx, func(ctx context.Context) (err error) {
		bounds, err = l.Log.Bounds(ctx)
		return err
	})
	return bounds, err
}

func (l *mortalLog) NewEpoch(ctx context.Context, old string) (bounds backplane.Bounds, err error) {
	err = l.mortal.call(ctx, func(ctx context.Context) (err error) {
		bounds, err = l.Log.NewEpoch(ctx, old)
		return err
	})
	return bounds, err
}

func (l *mortalLog) Renew(ctx context.Context, node string, ttl time.Duration) error {
	return l.mortal.call(ctx, func(ctx context.Context) error { return l.Log.Renew(ctx, node, ttl) })
}

func (l *mortalLog) Release(ctx context.Context, node string) error {
	return l.mortal.call(ctx, func(ctx context.Context) error { return l.Log.Release(ctx, node) })
}

func (l *mortalLog) Update(ctx context.Context, node string, add []backplane.Session, end []string) (result backplane.UpdateResult, err error) {
	err = l.mortal.call(ctx, func(ctx context.Context) (err error) {
		result, err = l.Log.Update(ctx, node, add, end)
		return err
	})
	return result, err
}

func (l *mortalLog) Collect(ctx context.Context, node string, max int) (debts []backplane.Debt, err error) {
	err = l.mortal.call(ctx, func(ctx context.Context) (err error) {
		debts, err = l.Log.Collect(ctx, node, max)
		return err
	})
	return debts, err
}

func (l *mortalLog) Settle(ctx context.Context, node string, debts []backplane.Debt) error {
	return l.mortal.call(ctx, func(ctx context.Context) error { return l.Log.Settle(ctx, node, debts) })
}

func (l *mortalLog) Sessions(ctx context.Context, clients ...string) iter.Seq2[backplane.Session, error] {
	return func(yield func(backplane.Session, error) bool) {
		stopped := false
		err := l.mortal.call(ctx, func(ctx context.Context) error {
			for s, err := range l.Log.Sessions(ctx, clients...) {
				if stopped = !yield(s, err); stopped || err != nil {
					stopped = true
					break
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(backplane.Session{}, err)
		}
	}
}

func (l *mortalLog) Presence(ctx context.Context, clients ...string) (presence []backplane.Presence, err error) {
	err = l.mortal.call(ctx, func(ctx context.Context) (err error) {
		presence, err = l.Log.Presence(ctx, clients...)
		return err
	})
	return presence, err
}

func (l *mortalLog) Put(ctx context.Context, facts []backplane.Fact) error {
	return l.mortal.call(ctx, func(ctx context.Context) error { return l.Log.Put(ctx, facts) })
}

func (l *mortalLog) Facts(ctx context.Context, clients ...string) (facts []backplane.Fact, err error) {
	err = l.mortal.call(ctx, func(ctx context.Context) (err error) {
		facts, err = l.Log.Facts(ctx, clients...)
		return err
	})
	return facts, err
}
