package broker_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
)

func TestDisconnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 3)
		a, b, c := nodes[0], nodes[1], nodes[2]
		j := new(journal)
		for _, n := range nodes {
			n.SetDisconnectCallback(func(client, session string) { j.note("%s %s", client, session) })
		}
		one, two, other := connect(t, a, "joe"), connect(t, b, "joe"), connect(t, b, "ann")
		must(t, a.Broadcast(text("before")))
		one.wants("before")
		two.wants("before")
		must(t, c.Disconnect(t.Context(), "joe", "banned"))
		for _, r := range []*reader{one, two} {
			r.wait()
			mustBe(t, r.conn.Err(), broker.ErrDisconnected)
			if !strings.Contains(r.conn.Err().Error(), "banned") {
				t.Errorf("reason is %v", r.conn.Err())
			}
		}
		synctest.Wait()
		j.wants(t, "joe "+one.conn.SessionId(), "joe "+two.conn.SessionId())
		if other.ended() || a.IsClientPresent("joe") {
			t.Error("the wrong one is disconnected")
		}
		must(t, a.Broadcast(text("after")))
		back := connectFrom(t, b, "joe", one.lastID()) // is welcome, and misses nothing
		back.wants("after")
		time.Sleep(time.Minute)
		if back.ended() {
			t.Error("is disconnected again")
		}
	})
}

// A node that was cut off disconnects when it hears of it, from the log or, when that
// has been trimmed, from the register.
func TestDisconnectReachesANodeThatWasCutOff(t *testing.T) {
	for _, trimmed := range []bool{false, true} {
		t.Run(map[bool]string{false: "log", true: "register"}[trimmed], func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				bus := newBus()
				wire := newUnreliable(bus)
				a, b := start(t, broker.WithBackplane(wire), broker.WithLease(time.Hour)), start(t, broker.WithBackplane(bus))
				r, other := connect(t, a, "joe"), connect(t, a, "ann")
				synctest.Wait()
				wire.cutOff()
				must(t, b.Disconnect(t.Context(), "joe", "banned"))
				must(t, b.Broadcast(text("not for joe")))
				must(t, b.Broadcast(text("last")))
				synctest.Wait()
				if r.ended() {
					t.Error("the node can not know yet")
				}
				if trimmed {
					bus.Tamper("default").Trim(1)
				}
				wire.heal()
				r.wait()
				mustBe(t, r.conn.Err(), broker.ErrDisconnected)
				r.wants()
				time.Sleep(5 * time.Second)
				if trimmed {
					other.wantsReset(broker.ResetRetention, "last")
				} else {
					other.wants("not for joe", "last")
				}
			})
		})
	}
}

// A disconnect of those who are connected does not concern those who come after it,
// on whichever node.
func TestDisconnectIsForThoseWhoAreThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		must(t, nodes[0].Disconnect(t.Context(), "joe", ""))
		synctest.Wait()
		one, two := connect(t, nodes[0], "joe"), connect(t, nodes[1], "joe")
		time.Sleep(time.Minute)
		if one.ended() || two.ended() {
			t.Errorf("disconnected: %v, %v", one.conn.Err(), two.conn.Err())
		}
	})
}
