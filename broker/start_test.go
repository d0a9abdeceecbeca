package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/broker"
)

// faulty is a bus whose methods can be replaced.
type faulty struct {
	backplane.Backplane
	open func(context.Context, backplane.Config) (backplane.Log, error)
	wrap func(backplane.Log) backplane.Log
}

func (f faulty) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	if f.open != nil {
		return f.open(ctx, cfg)
	}
	log, err := f.Backplane.Open(ctx, cfg)
	if err == nil {
		log = f.wrap(log)
	}
	return log, err
}

// unfollowed is a log whose Follow never comes to anything, and that can hide its end.
type unfollowed struct {
	backplane.Log
	bounds error
}

func (u unfollowed) Bounds(ctx context.Context) (backplane.Bounds, error) {
	if u.bounds != nil {
		return backplane.Bounds{}, u.bounds
	}
	return u.Log.Bounds(ctx)
}

func (u unfollowed) Follow(ctx context.Context, _ backplane.Position, _ backplane.Follower) error {
	<-ctx.Done()
	return ctx.Err()
}

// Who waits in vain for the bus hears what the bus says.
func TestWhyTheBusIsNotReached(t *testing.T) {
	foreign := errors.New("the stream is somebody else's")
	for name, bus := range map[string]faulty{
		"Open":   {open: func(context.Context, backplane.Config) (backplane.Log, error) { return nil, foreign }},
		"Bounds": {Backplane: newBus(), wrap: func(log backplane.Log) backplane.Log { return unfollowed{log, foreign} }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := broker.NewBroker(nil, broker.WithBackplane(bus))
				t.Cleanup(func() { shut(t, b) })
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				startErr := b.Start(ctx)
				mustBe(t, startErr, context.DeadlineExceeded)
				if want := "broker: bus unavailable: start: context deadline exceeded; last: " + foreign.Error(); startErr.Error() != want {
					t.Errorf("Start: %q, want %q", startErr, want)
				}
				_, publishErr := b.Publish(ctx, broker.Everyone(), text("x"))
				for _, err := range []error{startErr, publishErr, b.Broadcast(text("x")), b.Send("joe", text("x")), b.Healthy(), b.Ready()} {
					mustBe(t, err, broker.ErrUnavailable)
					mustBe(t, err, foreign)
				}
			})
		})
	}
}

// A node that has reached the bus says that it does not follow the log yet.
func TestReachedAndNotFollowed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithBackplane(faulty{Backplane: newBus(), wrap: func(log backplane.Log) backplane.Log { return unfollowed{Log: log} }}))
		synctest.Wait()
		must(t, b.Ready())
		err := b.Healthy()
		mustBe(t, err, broker.ErrUnavailable)
		if err != nil && !strings.Contains(err.Error(), "the log is not followed yet") {
			t.Errorf("Healthy: %v", err)
		}
	})
}

// A bus that panics is an error like another; so is one that opens no log.
func TestBusThatPanics(t *testing.T) {
	for want, open := range map[string]func() (backplane.Log, error){
		"no bus today":              func() (backplane.Log, error) { panic("no bus today") },
		"the bus has opened no log": func() (backplane.Log, error) { return nil, nil },
	} {
		bubble(t, func(t *testing.T) {
			bus := faulty{open: func(context.Context, backplane.Config) (backplane.Log, error) { return open() }}
			b := broker.NewBroker(nil, broker.WithBackplane(bus))
			t.Cleanup(func() { shut(t, b) })
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			err := b.Start(ctx)
			mustBe(t, err, broker.ErrUnavailable)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Start: %v", err)
			}
		})
	}
}
