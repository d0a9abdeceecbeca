package broker

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// When the bus comes back with an epoch that the node has left, because it has failed over to a
// server that had not heard of the newer one, a new epoch begins at its end: what is in
// the old one has been seen.
func TestRuleEpochThatComesBackIsNotSeenAgain(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		bus := &turningBus{Backplane: s.bus.Line("a")}
		a := s.node("a", WithBackplane(bus))
		g := s.guest(a, "joe", "")
		s.publish(a, Everyone(), "1", "2")
		old := s.truth.bounds()
		s.truth.newEpoch(0)
		time.Sleep(5 * time.Second)
		s.publish(a, Everyone(), "3")
		bus.turnBack(old)
		time.Sleep(5 * time.Second)
		s.publish(a, Everyone(), "4")
		const reset = `reset {"reason":"history"}`
		g.wants("@", "1", "2", reset, "3", reset, "4")
	})
}

// turningBus can be turned back to an epoch: then it has what was in there, and no other, until a
// new one is begun.
type turningBus struct {
	backplane.Backplane

	mu    sync.Mutex
	old   *backplane.Bounds // what it has been turned back to
	turn  context.CancelFunc
	pages []backplane.Page
}

func (b *turningBus) turnBack(to backplane.Bounds) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.old = &to
	b.turn()
}

func (b *turningBus) turned() *backplane.Bounds {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.old
}

func (b *turningBus) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	log, err := b.Backplane.Open(ctx, cfg)
	return &turningLog{Log: log, bus: b}, err
}

type turningLog struct {
	backplane.Log
	bus *turningBus
}

func (l *turningLog) Bounds(ctx context.Context) (backplane.Bounds, error) {
	if old := l.bus.turned(); old != nil {
		return *old, nil
	}
	return l.Log.Bounds(ctx)
}

func (l *turningLog) NewEpoch(ctx context.Context, leave string) (backplane.Bounds, error) {
	if old := l.bus.turned(); old != nil && leave == old.Epoch {
		b, err := l.Log.Bounds(ctx)
		if err != nil {
			return b, err
		}
		leave = b.Epoch
		l.bus.mu.Lock()
		l.bus.old = nil
		l.bus.mu.Unlock()
	}
	return l.Log.NewEpoch(ctx, leave)
}

func (l *turningLog) Follow(ctx context.Context, after Position, to backplane.Follower) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := l.bus
	b.mu.Lock()
	b.turn = cancel
	old, pages := b.old, b.pages
	b.mu.Unlock()
	if old != nil && after.Epoch == old.Epoch {
		to.Link(nil)
		for _, p := range pages {
			if p.After.Epoch == old.Epoch && p.After.Seq >= after.Seq {
				to.Page(p)
			}
		}
		<-ctx.Done()
		return ctx.Err()
	}
	err := l.Log.Follow(ctx, after, recorder{to, b})
	if b.turned() != nil {
		return backplane.ErrEpoch
	}
	return err
}

// recorder keeps the pages that it hands on.
type recorder struct {
	backplane.Follower
	bus *turningBus
}

func (r recorder) Page(p backplane.Page) {
	r.bus.mu.Lock()
	r.bus.pages = append(r.bus.pages, p)
	r.bus.mu.Unlock()
	r.Follower.Page(p)
}
