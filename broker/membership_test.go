package broker_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
)

func TestJoinAndLeave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 3)
		a, b, c := nodes[0], nodes[1], nodes[2]
		ctx := t.Context()
		one, two, other := connect(t, a, "joe"), connect(t, b, "joe"), connect(t, a, "ann")
		publish(t, c, broker.Topics("room"), text("before"))
		must(t, c.Join(ctx, "joe", "room", "hall"))
		publish(t, c, broker.Topics("room", "hall"), text("1"))
		publish(t, a, broker.Topics("hall"), text("2"))
		one.wants("1", "2")
		two.wants("1", "2")
		wantNames(t, "Members", collect(t, b.Members(ctx, "room")), "joe")
		must(t, a.Join(ctx, "joe", "room")) // again
		must(t, a.Leave(ctx, "joe", "room", "never joined"))
		publish(t, b, broker.Topics("room"), text("left"))
		publish(t, b, broker.Topics("room", "hall"), text("3"))
		one.wants("1", "2", "3")
		two.wants("1", "2", "3")
		other.wants()
		wantNames(t, "Members", collect(t, c.Members(ctx, "room")))
		wantNames(t, "Members", collect(t, c.Members(ctx, "hall")), "joe")
		must(t, a.Join(ctx, "joe")) // no topics: nothing to do
	})
}

// What a client was joined to resumes, also on another node, and counts in Members.
func TestJoinSurvivesReconnecting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		ctx := t.Context()
		r := connect(t, a, "joe")
		publish(t, a, broker.Topics("room"), text("before"))
		must(t, a.Join(ctx, "joe", "room"))
		publish(t, a, broker.Topics("room"), text("1"))
		r.wants("1")
		at := r.lastID()
		r.leave()
		publish(t, a, broker.Topics("room"), text("2"))
		synctest.Wait()
		r = connectFrom(t, b, "joe", at)
		publish(t, a, broker.Topics("room"), text("3"))
		r.wants("2", "3")
		fresh := connect(t, a, "joe")
		publish(t, b, broker.Topics("room"), text("4"))
		fresh.wants("4")
		synctest.Wait()
		wantNames(t, "Members", collect(t, a.Members(ctx, "room")), "joe")
		sessions, err := b.Sessions(ctx, "joe")
		must(t, err)
		for _, s := range sessions {
			wantNames(t, "topics of a session", s.Topics, "room")
		}
		// A leave survives too.
		must(t, a.Leave(ctx, "joe", "room"))
		r.leave()
		fresh.leave()
		r = connect(t, b, "joe")
		publish(t, b, broker.Topics("room"), text("left"))
		r.wants()
		wantNames(t, "Members", collect(t, a.Members(ctx, "room")))
	})
}

// A client that resumes from before the join gets the topic from the join on.
func TestJoinWhileAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		r := connect(t, a, "joe")
		r.wants()
		at := r.lastID()
		r.leave()
		publish(t, a, broker.Topics("room"), text("before"))
		must(t, a.Join(t.Context(), "joe", "room"))
		publish(t, a, broker.Topics("room"), text("after"))
		synctest.Wait()
		connectFrom(t, b, "joe", at).wants("after")
		connectFrom(t, b, "joe", at, broker.FollowTopics("room")).wants("before", "after") // named at connect
	})
}

// A node that was cut off while its client was joined and left hears of it.
func TestJoinReachesANodeThatWasCutOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		wire := newUnreliable(bus)
		a, b := start(t, broker.WithBackplane(wire), broker.WithLease(time.Hour)), start(t, broker.WithBackplane(bus))
		r := connect(t, a, "joe", broker.FollowTopics("hall"))
		wire.cutOff()
		must(t, b.Join(t.Context(), "joe", "room"))
		publish(t, b, broker.Topics("room"), text("1"))
		must(t, b.Leave(t.Context(), "joe", "hall"))
		publish(t, b, broker.Topics("hall"), text("2"))
		wire.heal()
		r.wants("1")
	})
}

// Joining and leaving while events flow: each event is delivered once, from the join on.
func TestJoinWhileEventsFlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		r := connect(t, nodes[0], "joe", broker.FollowTopics("room"))
		for range 50 {
			must(t, nodes[1].Join(t.Context(), "joe", "room", "hall"))
			publish(t, nodes[0], broker.Topics("room", "hall"), text("x"))
			must(t, r.conn.Join("room", "hall"))
		}
		if n := len(r.data()); n != 50 {
			t.Errorf("%d events", n)
		}
	})
}

// A leave concerns those who are there: who names the topic later follows it again.
func TestLeaveOfATopicNamedAtConnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		named := broker.FollowTopics("room")
		r := connect(t, a, "joe", named)
		must(t, b.Leave(t.Context(), "joe", "room"))
		publish(t, b, broker.Topics("room"), text("left"))
		r.wants()
		at := r.lastID()
		again := connectFrom(t, b, "joe", at, named)
		publish(t, a, broker.Topics("room"), text("1"))
		time.Sleep(time.Minute)
		publish(t, a, broker.Topics("room"), text("2"))
		r.wants()
		if d := again.data(); len(d) < 2 || d[len(d)-2] != "1" || d[len(d)-1] != "2" {
			t.Errorf("received %q", d)
		}
	})
}

// Two nodes say different things at the same moment: all come to agree.
func TestJoinAndLeaveAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 3)
		one, two := connect(t, nodes[0], "joe"), connect(t, nodes[1], "joe")
		for range 20 {
			var wg sync.WaitGroup
			wg.Go(func() { must(t, nodes[0].Join(t.Context(), "joe", "room")) })
			wg.Go(func() { must(t, nodes[1].Leave(t.Context(), "joe", "room")) })
			wg.Go(func() { must(t, nodes[1].SetClientMetadata("joe", broker.ClientMetadata{"n": 1})) })
			wg.Go(func() { must(t, nodes[2].SetClientMetadata("joe", broker.ClientMetadata{"n": 2})) })
			wg.Wait()
			synctest.Wait()
			before1, before2 := len(one.data()), len(two.data())
			publish(t, nodes[2], broker.Topics("room"), text("x"))
			in1, in2 := len(one.data()) > before1, len(two.data()) > before2
			three := connect(t, nodes[2], "joe")
			publish(t, nodes[1], broker.Topics("room"), text("y"))
			in3 := len(three.data()) > 0
			members := collect(t, nodes[0].Members(t.Context(), "room"))
			if in1 != in2 || in2 != in3 || in1 != (len(members) == 1) {
				t.Fatalf("sessions follow: %t, %t, %t; members %q", in1, in2, in3, members)
			}
			three.leave()
		}
	})
}
