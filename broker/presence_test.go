package broker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
)

// collect returns all that an iterator yields, sorted.
func collect(t testing.TB, all func(func(string, error) bool)) []string {
	t.Helper()
	names := []string{}
	for name, err := range all {
		must(t, err)
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func wantNames(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestPresence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 3)
		a, b, c := nodes[0], nodes[1], nodes[2]
		ctx := t.Context()
		joe1 := connect(t, a, "joe", broker.FollowTopics("red"))
		joe2 := connect(t, b, "joe", broker.FollowTopics("blue", "red", "blue"))
		connect(t, b, "ann", broker.FollowTopics("blue"))
		connect(t, a, "tom")
		for _, n := range nodes {
			wantNames(t, "Clients", collect(t, n.Clients(ctx)), "joe", "ann", "tom")
			wantNames(t, "Members of red", collect(t, n.Members(ctx, "red")), "joe")
			wantNames(t, "Members of blue", collect(t, n.Members(ctx, "blue")), "joe", "ann")
			wantNames(t, "Members of green", collect(t, n.Members(ctx, "green")))
			sessions, err := n.Sessions(ctx, "joe")
			must(t, err)
			if len(sessions) != 2 {
				t.Fatalf("sessions %+v", sessions)
			}
			for _, s := range sessions {
				switch s.ID {
				case joe1.conn.SessionId():
					wantNames(t, "topics", slices.Sorted(slices.Values(s.Topics)), "red")
					if s.NodeName != "a" || s.ClientID != "joe" {
						t.Errorf("session %+v", s)
					}
				case joe2.conn.SessionId():
					wantNames(t, "topics", slices.Sorted(slices.Values(s.Topics)), "blue", "red")
					if s.NodeName != "b" || s.ClientID != "joe" {
						t.Errorf("session %+v", s)
					}
				default:
					t.Errorf("session %+v", s)
				}
			}
			all := 0
			for s, err := range n.AllSessions(ctx) {
				must(t, err)
				if s.ID == "" || s.ClientID == "" || s.NodeName == "" {
					t.Errorf("session %+v", s)
				}
				all++
			}
			if all != 4 {
				t.Errorf("%d sessions", all)
			}
			if !n.IsClientPresent("joe") || n.IsClientPresent("red") {
				t.Error("IsClientPresent is wrong")
			}
		}
		joe1.leave()
		synctest.Wait()
		if !c.IsClientPresent("joe") {
			t.Error("joe has a session left")
		}
		joe2.leave()
		synctest.Wait()
		for _, n := range nodes {
			if n.IsClientPresent("joe") { // at once, not after the grace
				t.Error("joe is gone")
			}
			wantNames(t, "Clients", collect(t, n.Clients(ctx)), "ann", "tom")
			wantNames(t, "Members of blue", collect(t, n.Members(ctx, "blue")), "ann")
			sessions, err := n.Sessions(ctx, "joe")
			must(t, err)
			if len(sessions) != 0 {
				t.Errorf("sessions %+v", sessions)
			}
		}
	})
}

// Iterators read in pages, and end when their caller has enough.
func TestPresenceOfMany(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		const n = 700
		for i := range n {
			connect(t, nodes[i%2], fmt.Sprint("client ", i), broker.FollowTopics("room"))
		}
		ctx := t.Context()
		if got := collect(t, nodes[0].Clients(ctx)); len(got) != n || len(slices.Compact(got)) != n {
			t.Errorf("%d clients", len(got))
		}
		if got := collect(t, nodes[0].Members(ctx, "room")); len(got) != n {
			t.Errorf("%d members", len(got))
		}
		seen := 0
		for range nodes[0].Clients(ctx) {
			if seen++; seen == 3 {
				break
			}
		}
		for range nodes[0].AllSessions(ctx) {
			break
		}
	})
}

func TestPresenceWithoutABus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := start(t, broker.WithBackplane(wire))
		connect(t, b, "joe")
		wire.cutOff()
		ctx := t.Context()
		_, err := b.Sessions(ctx, "joe")
		mustBe(t, err, broker.ErrUnavailable)
		errs := 0
		for _, all := range []func(func(string, error) bool){b.Clients(ctx), b.Members(ctx, "room")} {
			for _, err := range all {
				mustBe(t, err, broker.ErrUnavailable)
				errs++
			}
		}
		if errs != 2 {
			t.Errorf("%d errors", errs)
		}
		if !b.IsClientPresent("joe") || b.IsClientPresent("ann") {
			t.Error("a node knows its own sessions")
		}
		wire.heal()
	})
}

// Calls end with their context.
func TestCallsEndWithTheirContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		connect(t, b, "joe")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, publishErr := b.Publish(ctx, broker.Everyone(), text("x"))
		_, sessionsErr := b.Sessions(ctx, "joe")
		_, positionErr := b.Position(ctx)
		for what, err := range map[string]error{
			"Publish": publishErr, "Sessions": sessionsErr, "Position": positionErr,
			"Join": b.Join(ctx, "joe", "room"), "Disconnect": b.Disconnect(ctx, "joe", ""),
		} {
			if err == nil {
				t.Errorf("%s: no error", what)
			}
			mustBe(t, err, broker.ErrUnavailable)
			mustBe(t, err, context.Canceled)
		}
	})
}

// Who left less than the resume grace ago still takes events: they wait in the log.
func TestResumeGrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2, broker.WithResumeGrace(30*time.Second), broker.WithLease(3*time.Second))
		a, b := nodes[0], nodes[1]
		r := connect(t, a, "joe")
		must(t, a.SetClientMetadata("joe", broker.ClientMetadata{"k": "v"}))
		r.wants()
		at := r.lastID()
		r.leave()
		synctest.Wait()
		if a.IsClientPresent("joe") || b.IsClientPresent("joe") {
			t.Error("is present")
		}
		must(t, a.Send("joe", text("1")))
		time.Sleep(29 * time.Second)
		must(t, b.Send("joe", text("2")))
		if m, err := b.GetClientMetadata("joe"); err != nil || m["k"] != "v" {
			t.Errorf("metadata %v, %v", m, err)
		}
		must(t, b.SetClientMetadata("joe", broker.ClientMetadata{"k": "w"}))
		must(t, b.Join(t.Context(), "joe", "room"))
		back := connectFrom(t, b, "joe", at)
		back.wants("1", "2")
		if m, err := a.GetClientMetadata("joe"); err != nil || m["k"] != "w" {
			t.Errorf("metadata %v, %v", m, err)
		}
		publish(t, a, broker.Topics("room"), text("3"))
		back.wants("1", "2", "3")
		back.leave()

		time.Sleep(35 * time.Second)
		for _, n := range nodes {
			mustBeUnknown(t, n.Send("joe", text("x")))
			mustBeUnknown(t, n.SetClientMetadata("joe", nil))
			mustBeUnknown(t, n.Join(t.Context(), "joe", "room"))
			mustBeUnknown(t, n.Leave(t.Context(), "joe", "room"))
			_, err := n.GetClientMetadata("joe")
			mustBeUnknown(t, err)
		}
		// Who comes back later begins anew: neither metadata nor topics are left.
		back = connect(t, a, "joe")
		if m, err := b.GetClientMetadata("joe"); err != nil || len(m) != 0 {
			t.Errorf("metadata %v, %v", m, err)
		}
		publish(t, b, broker.Topics("room"), text("x"))
		back.wants()
	})
}

func TestNoResumeGrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithResumeGrace(0))
		r := connect(t, b, "joe")
		r.leave()
		time.Sleep(time.Millisecond)
		mustBeUnknown(t, b.Send("joe", text("x")))
	})
}

func TestUnknownClients(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		ctx := t.Context()
		_, metadataErr := b.GetClientMetadata("nobody")
		_, sendErr := b.SendContext(ctx, "nobody", text("x"))
		for _, err := range []error{
			b.Send("nobody", text("x")), sendErr, metadataErr, b.SetClientMetadata("nobody", nil),
			b.Join(ctx, "nobody", "room"), b.Leave(ctx, "nobody", "room"),
		} {
			mustBeUnknown(t, err)
		}
		publish(t, b, broker.ToClient("nobody"), text("x")) // does not ask
		must(t, b.Disconnect(ctx, "nobody", ""))
		if n := b.Stats().Published; n != 1 {
			t.Errorf("%d published", n)
		}
	})
}

// Concurrent questions for clients are one trip to the bus.
func TestQuestionsForClientsAreJoined(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		wire := newUnreliable(bus)
		a, b := start(t, broker.WithBackplane(bus)), start(t, broker.WithBackplane(wire))
		for i := range 100 {
			connect(t, a, fmt.Sprint("client ", i))
		}
		connect(t, b, "local")
		before := wire.count("Presence")
		must(t, b.Send("local", text("x")))
		if n := wire.count("Presence"); n != before {
			t.Errorf("%d questions for a client of its own", n-before)
		}
		wire.Delay(10*time.Millisecond, 10*time.Millisecond)
		done := make(chan error)
		for i := range 100 {
			go func() { done <- b.Send(fmt.Sprint("client ", i), text("x")) }()
		}
		for range 100 {
			must(t, <-done)
		}
		if n := wire.count("Presence") - before; n > 3 {
			t.Errorf("%d questions", n)
		}
		wire.Calm()
	})
}

// A topic that can not be one is an error, like a client that can not be one.
func TestMembersOfAnImpossibleTopic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		for name, topic := range badNames {
			var errs []error
			for _, err := range b.Members(t.Context(), topic) {
				errs = append(errs, err)
			}
			if len(errs) != 1 {
				t.Fatalf("%s: %d results", name, len(errs))
			}
			mustBe(t, errs[0], broker.ErrInvalidName)
		}
	})
}
