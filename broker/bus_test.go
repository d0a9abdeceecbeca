package broker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/broker"
)

// A node that has never reached the bus sends its clients elsewhere, and is not ready.
func TestBusThatWasNeverReached(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		wire.cutOff()
		b := broker.NewBroker(nil, broker.WithBackplane(wire))
		t.Cleanup(func() { shut(t, b) })
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		err := b.Start(ctx)
		mustBe(t, err, broker.ErrUnavailable)
		mustBe(t, err, context.DeadlineExceeded)

		k := newSink()
		r, _ := request(t)
		begun := time.Now()
		_, err = b.Connect("joe", k, r)
		mustBe(t, err, broker.ErrUnavailable)
		isComeBack(t, k)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the answer took %v", took)
		}
		mustBe(t, b.Ready(), broker.ErrUnavailable)
		mustBe(t, b.Healthy(), broker.ErrUnavailable)
		mustBe(t, b.Broadcast(text("x")), broker.ErrUnavailable)
		mustBe(t, b.Send("joe", text("x")), broker.ErrUnavailable)
		if b.IsClientPresent("joe") {
			t.Error("somebody is present")
		}
		_ = b.Stats()

		wire.heal()
		must(t, b.Start(t.Context()))
		must(t, b.Ready())
		reader := connect(t, b, "joe")
		must(t, b.Broadcast(text("x")))
		reader.wants("x")
	})
}

// A node that is cut off serves what it has, stays ready, and says that it is ill.
func TestBusThatIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		wire := newUnreliable(bus)
		a, b := start(t, broker.WithBackplane(wire), broker.WithLease(time.Hour)), start(t, broker.WithBackplane(bus))
		old := publish(t, a, broker.Everyone(), text("1"))
		publish(t, a, broker.Everyone(), text("2"))
		synctest.Wait()
		r := connect(t, a, "joe")
		r.wants()
		wire.cutOff()
		synctest.Wait()
		mustBe(t, a.Healthy(), broker.ErrUnavailable)
		must(t, a.Ready())
		must(t, b.Broadcast(text("3")))
		begun := time.Now()
		resumed := connectFrom(t, a, "ann", old.String())
		if took := time.Since(begun); took != time.Second {
			t.Errorf("the stream began after %v", took)
		}
		resumed.wants("2")
		r.wants()
		if !a.IsClientPresent("joe") || a.IsClientPresent("nobody") {
			t.Error("a node answers for its own sessions when the bus does not answer")
		}
		mustBe(t, a.Send("nobody", text("x")), broker.ErrUnavailable) // not: unknown
		wire.heal()
		time.Sleep(2 * time.Second)
		r.wants("3")
		resumed.wants("2", "3")
		must(t, a.Healthy())
		if !b.IsClientPresent("ann") {
			t.Error("the registration was not made up for")
		}
	})
}

// A node that hangs for long misses nothing.
func TestBusThatComesBackLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		wire := newUnreliable(bus)
		a, b := start(t, broker.WithBackplane(wire), broker.WithLease(time.Hour)), start(t, broker.WithBackplane(bus))
		r := connect(t, a, "joe")
		for range 5 {
			wire.cutOff()
			must(t, b.Broadcast(text("x")))
			time.Sleep(time.Minute)
			wire.heal()
			must(t, b.Broadcast(text("y")))
			time.Sleep(time.Second)
		}
		r.wants("x", "y", "x", "y", "x", "y", "x", "y", "x", "y")
	})
}

// Entries that are none are skipped and counted; one of a newer format stops the node.
func TestForeignEntries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		book := new(logbook)
		b := start(t, broker.WithBackplane(bus), broker.WithLogger(book.logger()))
		r := connect(t, b, "joe")
		r.wants()
		log := rawLog(t, bus)
		must(t, b.Broadcast(text("1")))
		bus.Tamper("default").Foreign()
		number := uint64(0)
		add := func(data ...byte) {
			number++
			_, err := log.Publish(t.Context(), backplane.Batch{Producer: "foreign", Number: number, Messages: []backplane.Message{{Data: data}}})
			must(t, err)
		}
		add()
		add([]byte("data: injected\n\n")...)
		add(0xE5, 1)
		add(0xE5, 1, 1, 0, 1, 0, 0, 0, 8)
		add(append([]byte{0xE5, 1, 1, 0, 1, 0, 0, 0, 12}, "id: 1\ndata:\n\n"...)...)
		add(0xE5, 1, 9)
		must(t, b.Broadcast(text("2")))
		r.wants("1", "2")
		if s := b.Stats(); s.Malformed != 7 {
			t.Errorf("%d malformed entries", s.Malformed)
		}
		if !book.contains("foreign or malformed") {
			t.Error("it is not logged")
		}
		must(t, b.Healthy())
		bus.Tamper("default").Mark() // a place without an entry
		must(t, b.Broadcast(text("3")))
		r.wants("1", "2", "3")

		add(0xE5, 2, 'n', 'e', 'w')
		must(t, b.Broadcast(text("4")))
		r.wait()
		mustBe(t, r.conn.Err(), broker.ErrIncompatible)
		r.wants("1", "2", "3")
		mustBe(t, b.Healthy(), broker.ErrIncompatible)
		k := newSink()
		req, _ := request(t)
		_, err := b.Connect("joe", k, req)
		mustBe(t, err, broker.ErrIncompatible)
		isComeBack(t, k)
		if b.Ready() == nil {
			t.Error("is ready")
		}
	})
}

// rawLog opens the log of the default namespace beside the brokers.
func rawLog(t *testing.T, bus backplane.Backplane) backplane.Log {
	t.Helper()
	log, err := bus.Open(t.Context(), backplane.Config{
		Namespace: "default", RetentionAge: time.Hour, RetentionBytes: 64 << 20,
		IdempotencyWindow: time.Minute, ResumeGrace: time.Minute,
	})
	must(t, err)
	t.Cleanup(func() { _ = log.Close(context.Background()) })
	return log
}
