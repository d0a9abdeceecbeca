package broker_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/broker"
)

// On a bus that swallows everything no call waits for longer than its context, or, if
// it has none, than 5 seconds.
func TestBusThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		faults := backplanetest.NewFaults(newBus(), 1)
		b := start(t, broker.WithBackplane(faults.Line("b")), broker.WithLease(time.Hour))
		r := connect(t, b, "joe", broker.Metadata(broker.ClientMetadata{"k": "v"}))
		r.wants()
		faults.Line("b").Cut(backplanetest.Hang)
		time.Sleep(2 * time.Second)

		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		calls := map[string]struct {
			call func() error
			most time.Duration
		}{
			"Publish":     {func() error { _, err := b.Publish(ctx, broker.Everyone(), text("x")); return err }, 3 * time.Second},
			"SendContext": {func() error { _, err := b.SendContext(ctx, "ann", text("x")); return err }, 3 * time.Second},
			"Position":    {func() error { _, err := b.Position(ctx); return err }, 3 * time.Second},
			"Sessions":    {func() error { _, err := b.Sessions(ctx, "joe"); return err }, 3 * time.Second},
			"Join":        {func() error { return b.Join(ctx, "joe", "room") }, 3 * time.Second},
			"Leave":       {func() error { return b.Leave(ctx, "ann", "room") }, 3 * time.Second},
			"Disconnect":  {func() error { return b.Disconnect(ctx, "joe", "") }, 3 * time.Second},
			"Clients": {func() (err error) {
				for _, err = range b.Clients(ctx) {
				}
				return err
			}, 3 * time.Second},
			"Broadcast":         {func() error { return b.Broadcast(text("x")) }, 5 * time.Second},
			"Send":              {func() error { return b.Send("joe", text("x")) }, 5 * time.Second},
			"Send to another":   {func() error { return b.Send("ann", text("x")) }, 5 * time.Second},
			"SetClientMetadata": {func() error { return b.SetClientMetadata("joe", nil) }, 5 * time.Second},
			"metadata of another": {func() error {
				_, err := b.GetClientMetadata("ann")
				return err
			}, 5 * time.Second},
		}
		var wg sync.WaitGroup
		for name, c := range calls {
			wg.Go(func() {
				begun := time.Now()
				err := c.call()
				mustBe(t, err, broker.ErrUnavailable)
				if took := time.Since(begun); took > c.most {
					t.Errorf("%s took %v", name, took)
				}
			})
		}
		wg.Go(func() {
			begun := time.Now()
			if m, err := b.GetClientMetadata("joe"); err != nil || m["k"] != "v" {
				t.Errorf("metadata %v, %v", m, err)
			}
			if !b.IsClientPresent("joe") || b.IsClientPresent("ann") {
				t.Error("a node knows its own sessions")
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
		wg.Go(func() {
			begun := time.Now()
			connect(t, b, "tom")
			if took := time.Since(begun); took > time.Second {
				t.Errorf("connecting took %v", took)
			}
		})
		wg.Wait()
		mustBe(t, b.Healthy(), broker.ErrUnavailable)
		must(t, b.Ready())
		must(t, r.conn.Send(text("direct")))
		r.leave()
		faults.Heal()
		time.Sleep(5 * time.Second)
		must(t, b.Healthy())
		must(t, b.Send("tom", text("x")))
	})
}

func TestCloseOnABusThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		faults := backplanetest.NewFaults(newBus(), 1)
		b := broker.NewBroker(nil, broker.WithBackplane(faults.Line("b")))
		r := connect2(t, b, "joe")
		synctest.Wait()
		faults.Line("b").Cut(backplanetest.Hang)
		begun := time.Now()
		_ = b.Close()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		r.wait()
		time.Sleep(6 * time.Second) // then nothing is left: else the bubble would not end
		must(t, b.Close())
		faults.Heal()
	})
}

func TestStartOnABusThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		faults := backplanetest.NewFaults(newBus(), 1)
		faults.Line("b").Cut(backplanetest.Hang)
		b := broker.NewBroker(nil, broker.WithBackplane(faults.Line("b")))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		mustBe(t, b.Start(ctx), broker.ErrUnavailable)
		k := newSink()
		r, _ := request(t)
		_, err := b.Connect("joe", k, r)
		mustBe(t, err, broker.ErrUnavailable)
		isComeBack(t, k)
		must(t, b.Close())
	})
}

// A call that comes while the end is under way does not wait for an answer that nobody gives any
// more, also if its context never ends.
func TestCallDuringTheEndDoesNotHang(t *testing.T) {
	bubble(t, func(t *testing.T) {
		line := backplanetest.NewFaults(newBus(), 1).Line("b")
		b := broker.NewBroker(nil, broker.WithBackplane(line), broker.WithLease(time.Hour))
		errs := make(chan error, 2)
		b.SetDisconnectCallback(func(_, _ string) {
			time.Sleep(5500 * time.Millisecond) // Close has given up waiting, and says goodbye to the bus
			_, err := b.SendContext(context.Background(), "nobody", text("x"))
			errs <- err
			errs <- b.Join(context.Background(), "nobody", "room")
			if begun := time.Now(); b.IsClientPresent("nobody") || time.Since(begun) > 0 {
				t.Errorf("IsClientPresent took %v", time.Since(begun))
			}
		})
		connect2(t, b, "joe").leave()
		synctest.Wait()
		line.Cut(backplanetest.Hang)
		mustBe(t, b.Close(), context.DeadlineExceeded)
		mustBe(t, <-errs, broker.ErrClosed)
		mustBe(t, <-errs, broker.ErrClosed)
		must(t, b.Close()) // when the goodbye is over
	})
}
