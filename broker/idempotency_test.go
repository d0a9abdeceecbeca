package broker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/sseplane/sseplane/broker"
)

func TestIdempotencyKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 3)
		a, b, c := nodes[0], nodes[1], nodes[2]
		r := connect(t, a, "joe", broker.FollowTopics("red", "blue"))
		key := broker.IdempotencyKey("key of any length, with any bytes \x00\n" + string(make([]byte, 5000)))

		first := publish(t, a, broker.Topics("red", "blue"), text("topics"), key)
		if again := publish(t, b, broker.Topics("blue", "red", "red"), text("another"), key); again != first {
			t.Errorf("the repeat is at %v, the first at %v", again, first)
		}
		// The same key counts for each audience.
		everyone := publish(t, b, broker.Everyone(), text("everyone"), key)
		red := publish(t, b, broker.Topics("red"), text("red"), key)
		joe := publish(t, b, broker.ToClient("joe"), text("joe"), key)
		session := publish(t, b, broker.ToSession(r.conn.SessionId()), text("session"), key)
		seen := map[broker.Position]bool{first: true, everyone: true, red: true, joe: true, session: true}
		if len(seen) != 5 {
			t.Errorf("some audiences share a position: %v", seen)
		}
		if again := publish(t, c, broker.Everyone(), text("again"), key); again != everyone {
			t.Errorf("the repeat is at %v, the first at %v", again, everyone)
		}
		must(t, c.Broadcast(text("again"), key))
		must(t, c.Send("joe", text("again"), key))
		r.wants("topics", "everyone", "red", "joe", "session")
		publish(t, c, broker.Everyone(), text("no key"))
		publish(t, c, broker.Everyone(), text("no key"), broker.IdempotencyKey(""))
		r.wants("topics", "everyone", "red", "joe", "session", "no key", "no key")
	})
}

func TestIdempotencyKeyIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2, broker.WithIdempotencyWindow(time.Minute))
		r := connect(t, nodes[0], "joe")
		key := broker.IdempotencyKey("k")
		first := publish(t, nodes[0], broker.Everyone(), text("1"), key)
		time.Sleep(time.Minute)
		if again := publish(t, nodes[1], broker.Everyone(), text("2"), key); again != first {
			t.Error("forgotten too early")
		}
		time.Sleep(time.Second)
		if again := publish(t, nodes[1], broker.Everyone(), text("3"), key); again == first {
			t.Error("remembered for too long")
		}
		r.wants("1", "3")
	})
}

// Many publish with the same key at once: all are told of the one event.
func TestIdempotencyKeyAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 3)
		r := connect(t, nodes[0], "joe")
		var wg sync.WaitGroup
		positions := make([]broker.Position, 60)
		for i := range positions {
			wg.Go(func() {
				positions[i] = publish(t, nodes[i%3], broker.Everyone(), text("once"), broker.IdempotencyKey("k"))
			})
		}
		wg.Wait()
		for _, p := range positions {
			if p != positions[0] {
				t.Fatalf("positions %v", positions)
			}
		}
		r.wants("once")
	})
}

// What was in doubt when its caller gave up counts once when it is tried again.
func TestRepeatAfterAnErrorCountsOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, bus := cluster(t, 0)
		wire := newUnreliable(bus)
		a, b := start(t, broker.WithBackplane(wire)), start(t, broker.WithBackplane(bus))
		r := connect(t, b, "joe")
		wire.cutOff()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := a.Publish(ctx, broker.Everyone(), text("x"), broker.IdempotencyKey("k"))
		mustBe(t, err, broker.ErrUnavailable)
		mustBe(t, err, context.DeadlineExceeded)
		wire.heal()
		must(t, a.Broadcast(text("x"), broker.IdempotencyKey("k")))
		must(t, b.Broadcast(text("x"), broker.IdempotencyKey("k")))
		r.wants("x")
	})
}

// A call without a context gives up after 5 seconds.
func TestPublishWithoutABus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := start(t, broker.WithBackplane(wire))
		r := connect(t, b, "joe")
		wire.cutOff()
		for what, call := range map[string]func() error{
			"Broadcast": func() error { return b.Broadcast(text("x")) },
			"Send":      func() error { return b.Send("joe", text("x")) },
		} {
			begun := time.Now()
			mustBe(t, call(), broker.ErrUnavailable)
			if took := time.Since(begun); took != 5*time.Second {
				t.Errorf("%s took %v", what, took)
			}
		}
		wire.heal()
		must(t, b.Broadcast(text("y")))
		if d := r.data(); d[len(d)-1] != "y" {
			t.Errorf("received %q", d)
		}
	})
}
