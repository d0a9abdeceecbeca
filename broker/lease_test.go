package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/broker"
)

// A node dies. Its sessions are not present any more, another node reports each once,
// and the clients go on elsewhere, exactly.
func TestNodeDies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		wire := newUnreliable(bus)
		j := new(journal)
		var nodes []*broker.Broker
		for i, name := range []string{"a", "b", "c"} {
			options := []broker.Option{broker.WithLease(5 * time.Second), broker.WithNodeName(name), broker.WithHooks(broker.Hooks{
				SessionLeft: func(client, _ string) { j.note("hook: %s left", client) },
			})}
			if i == 0 {
				options = append(options, broker.WithBackplane(wire))
			} else {
				options = append(options, broker.WithBackplane(bus))
			}
			b := start(t, options...)
			b.SetDisconnectCallback(func(client, session string) { j.note("callback: %s", client) })
			nodes = append(nodes, b)
		}
		a, b, c := nodes[0], nodes[1], nodes[2]
		time.Sleep(10 * time.Second) // the others have proved that it is not they who are cut off
		var readers []*reader
		var want []string
		for i := range 20 {
			name := fmt.Sprint("client ", i)
			readers = append(readers, connect(t, a, name))
			want = append(want, "callback: "+name, "hook: "+name+" left")
		}
		must(t, b.Broadcast(text("1")))
		readers[0].wants("1")
		wire.cutOff()
		must(t, b.Broadcast(text("2")))
		time.Sleep(time.Second)
		if !b.IsClientPresent("client 3") {
			t.Error("the lease has not lapsed yet")
		}
		time.Sleep(7 * time.Second)
		if b.IsClientPresent("client 3") || c.IsClientPresent("client 4") {
			t.Error("the sessions of a dead node are present")
		}
		must(t, b.Send("client 3", text("3"))) // which is within its grace
		j.wants(t, want...)
		readers[3].wants("1")
		elsewhere := connectFrom(t, c, "client 3", readers[3].lastID())
		elsewhere.wants("2", "3")

		// It comes back: it finds that it was swept, and sends its sessions elsewhere,
		// without a second callback.
		wire.heal()
		for _, r := range readers {
			r.wait()
			mustBe(t, r.conn.Err(), broker.ErrNodeLapsed)
			if !strings.HasSuffix(r.text(), "\n\n") || strings.Count(r.text(), "retry:") != 2 {
				t.Errorf("the farewell is missing in %q", r.text())
			}
		}
		time.Sleep(20 * time.Second)
		j.wants(t, want...)
		if !b.IsClientPresent("client 3") || b.IsClientPresent("client 4") {
			t.Error("presence is wrong after the return")
		}
		back := connectFrom(t, a, "client 4", readers[4].lastID()) // which may be served its own past
		time.Sleep(time.Second)
		if d := back.data(); !slices.Equal(d, []string{"2"}) && len(d) != 0 {
			t.Errorf("received %q", d)
		}
		if !b.IsClientPresent("client 4") {
			t.Error("a node in its second life registers nobody")
		}
		must(t, a.Healthy())
		must(t, a.Broadcast(text("again")))
	})
}

// A short cut is no death: whoever comes back in time keeps its sessions.
func TestLeaseIsRenewedInTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		wire := newUnreliable(bus)
		j := new(journal)
		a, b := start(t, broker.WithBackplane(wire), broker.WithLease(10*time.Second)), start(t, broker.WithBackplane(bus), broker.WithLease(10*time.Second))
		for _, n := range []*broker.Broker{a, b} {
			n.SetDisconnectCallback(func(client, _ string) { j.note("%s", client) })
		}
		r := connect(t, a, "joe")
		time.Sleep(time.Minute)
		for range 10 {
			wire.cutOff()
			time.Sleep(3 * time.Second)
			wire.heal()
			time.Sleep(5 * time.Second)
			if !b.IsClientPresent("joe") {
				t.Fatal("is not present")
			}
		}
		j.wants(t)
		if r.ended() {
			t.Error("has ended")
		}
	})
}

// An outage of the bus is not the death of all others: nobody is swept before a node
// has itself been in touch for a full lease.
func TestOutageForAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		j := new(journal)
		var wires []*unreliable
		var readers []*reader
		for i := range 3 {
			wire := newUnreliable(bus)
			wires = append(wires, wire)
			b := start(t, broker.WithBackplane(wire), broker.WithLease(5*time.Second))
			b.SetDisconnectCallback(func(client, _ string) { j.note("%s", client) })
			readers = append(readers, connect(t, b, fmt.Sprint("client ", i)))
		}
		time.Sleep(30 * time.Second)
		for range 3 {
			for _, w := range wires {
				w.Cut(backplanetest.Refuse)
			}
			time.Sleep(time.Minute)
			for i, w := range wires {
				w.Heal()
				time.Sleep(time.Duration(i) * time.Second)
			}
			time.Sleep(30 * time.Second)
		}
		j.wants(t)
		for _, r := range readers {
			if r.ended() {
				t.Errorf("ended: %v", r.conn.Err())
			}
		}
	})
}

// Nor is an outage that is so short that no call of a node fails: those under way wait
// for the bus to come back, and are answered in any order.
func TestShortOutageForAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		j := new(journal)
		var wires []*unreliable
		for i := range 3 {
			wire := newUnreliable(bus)
			wires = append(wires, wire)
			b := start(t, broker.WithBackplane(wire), broker.WithLease(5*time.Second))
			b.SetDisconnectCallback(func(client, _ string) { j.note("%s", client) })
			connect(t, b, fmt.Sprint("client ", i))
			time.Sleep(700 * time.Millisecond)
		}
		time.Sleep(30 * time.Second)
		for outage := 500 * time.Millisecond; outage < 10*time.Second; outage += 130 * time.Millisecond {
			for _, w := range wires {
				w.Cut(backplanetest.Hang)
			}
			time.Sleep(outage)
			for i := range wires {
				wires[(i+int(outage/time.Millisecond))%3].Heal()
				time.Sleep(100 * time.Millisecond)
			}
			time.Sleep(15 * time.Second)
		}
		j.wants(t)
	})
}

// The last node dies; the next one to start reports its sessions.
func TestNobodyIsLeftToSweep(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		wire := newUnreliable(bus)
		a := broker.NewBroker(nil, broker.WithBackplane(wire), broker.WithLease(5*time.Second))
		connect2(t, a, "joe")
		synctest.Wait()
		wire.cutOff()
		_ = a.Close()
		time.Sleep(time.Minute)
		j := new(journal)
		b := broker.NewBroker(nil, broker.WithBackplane(bus), broker.WithLease(5*time.Second))
		t.Cleanup(func() { shut(t, b) })
		b.SetDisconnectCallback(func(client, _ string) { j.note("%s", client) })
		must(t, b.Start(t.Context()))
		if b.IsClientPresent("joe") {
			t.Error("is present")
		}
		time.Sleep(time.Minute)
		j.wants(t, "joe")
	})
}

// A node dies with callbacks that it has not made: another one makes them.
func TestDebtsOfADeadNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		wire := newUnreliable(bus)
		a, b := start(t, broker.WithBackplane(wire), broker.WithLease(5*time.Second)), start(t, broker.WithBackplane(bus), broker.WithLease(5*time.Second))
		j := new(journal)
		release := make(chan struct{})
		var once sync.Once
		a.SetDisconnectCallback(func(client, _ string) {
			once.Do(func() { j.note("a: %s", client); <-release })
		})
		b.SetDisconnectCallback(func(client, _ string) { j.note("b: %s", client) })
		time.Sleep(10 * time.Second)
		for i := range 3 {
			connect(t, a, fmt.Sprint("client ", i)).leave()
			synctest.Wait()
		}
		j.wants(t, "a: client 0")
		wire.cutOff() // in the first callback
		time.Sleep(30 * time.Second)
		j.wants(t, "a: client 0", "b: client 0", "b: client 1", "b: client 2") // the one inside the callback may come twice
		close(release)
		wire.heal()
		time.Sleep(30 * time.Second)
		j.wants(t, "a: client 0", "b: client 0", "b: client 1", "b: client 2")
	})
}

// A node that says goodbye leaves nothing to sweep.
func TestGoodbye(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2, broker.WithLease(5*time.Second))
		j := new(journal)
		nodes[0].SetDisconnectCallback(func(client, _ string) { j.note("a: %s", client) })
		nodes[1].SetDisconnectCallback(func(client, _ string) { j.note("b: %s", client) })
		time.Sleep(10 * time.Second)
		connect(t, nodes[0], "joe")
		must(t, nodes[0].Close())
		j.wants(t, "a: joe")
		if nodes[1].IsClientPresent("joe") {
			t.Error("is present")
		}
		time.Sleep(time.Minute)
		j.wants(t, "a: joe")
	})
}
