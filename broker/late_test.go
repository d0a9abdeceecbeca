package broker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/broker"
)

// A stream begins after a second without the register; what the cluster knows of its
// client is made up for when the register answers.
func TestRegisterAnswersLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		faults := backplanetest.NewFaults(newBus(), 1)
		a, b := start(t, broker.WithBackplane(faults.Line("a")), broker.WithLease(time.Hour)), start(t, broker.WithBackplane(faults.Line("b")))
		home := connect(t, b, "joe")
		must(t, b.Join(t.Context(), "joe", "room"))
		must(t, b.SetClientMetadata("joe", broker.ClientMetadata{"k": "v"}))
		home.wants()
		at := home.lastID()
		synctest.Wait()

		faults.Line("a").Fail(backplanetest.Update, backplanetest.Before, 8)
		begun := time.Now()
		r := connectFrom(t, a, "joe", at)
		if took := time.Since(begun); took != time.Second {
			t.Errorf("the stream began after %v", took)
		}
		time.Sleep(20 * time.Second)
		publish(t, b, broker.Topics("room"), text("x"))
		r.wants("x")
		sessions, err := b.Sessions(t.Context(), "joe")
		must(t, err)
		if len(sessions) != 2 {
			t.Errorf("sessions %+v", sessions)
		}
		for _, s := range sessions {
			wantNames(t, "topics of "+s.ID, s.Topics, "room")
		}
	})
}

// A client that went again before its registration was written leaves nothing behind,
// and its joining and leaving are both told, or neither.
func TestRegisterAnswersTooLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		faults := backplanetest.NewFaults(newBus(), 1)
		j := new(journal)
		a := start(t, broker.WithBackplane(faults.Line("a")), broker.WithLease(time.Hour), broker.WithHooks(broker.Hooks{
			SessionJoined: func(client, _ string) { j.note("%s joined", client) },
			SessionLeft:   func(client, _ string) { j.note("%s left", client) },
		}))
		faults.Line("a").Fail(backplanetest.Update, backplanetest.After, 10)
		r := connect(t, a, "joe")
		r.leave()
		time.Sleep(30 * time.Second)
		j.wants(t, "joe joined", "joe left")
		if a.IsClientPresent("joe") {
			t.Error("is present")
		}
	})
}

// Nothing that fails for a while on the way to the bus is lost or told twice.
func TestRegisterOnABadLine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		faults := backplanetest.NewFaults(newBus(), 7)
		j := new(journal)
		var nodes []*broker.Broker
		for _, name := range []string{"a", "b"} {
			line := faults.Line(name)
			n := start(t, broker.WithBackplane(line), broker.WithLease(time.Hour), broker.WithResumeGrace(time.Hour))
			line.FailRate(backplanetest.Before, 0.2)
			line.FailRate(backplanetest.After, 0.2)
			n.SetDisconnectCallback(func(client, session string) { j.note("%s", session) })
			nodes = append(nodes, n)
		}
		var want []string
		for i := range 60 {
			r := connect(t, nodes[i%2], "joe")
			want = append(want, r.conn.SessionId())
			if i%3 == 0 {
				time.Sleep(time.Second)
			}
			r.leave()
		}
		time.Sleep(2 * time.Minute)
		j.wants(t, want...)
		faults.Calm()
		time.Sleep(5 * time.Second)
		if nodes[0].IsClientPresent("joe") {
			t.Error("is present")
		}
	})
}

// A node that starts on a log that holds entries of a newer format serves nobody.
func TestStartOnALogOfANewerFormat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		a := start(t, broker.WithBackplane(bus))
		must(t, a.Broadcast(text("x")))
		log := rawLog(t, bus)
		_, err := log.Publish(t.Context(), backplane.Batch{Producer: "newer", Number: 1, Messages: []backplane.Message{{Data: []byte{0xE5, 2}}}})
		must(t, err)
		synctest.Wait()
		b := start(t, broker.WithBackplane(bus))
		synctest.Wait()
		for _, n := range []*broker.Broker{a, b} {
			mustBe(t, n.Healthy(), broker.ErrIncompatible)
			mustBe(t, n.Ready(), broker.ErrIncompatible)
			k := newSink()
			r, _ := request(t)
			_, err := n.Connect("joe", k, r)
			mustBe(t, err, broker.ErrIncompatible)
			isComeBack(t, k)
		}
	})
}

// A bus that becomes slow makes connecting slower, and nothing else.
func TestSlowBus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		faults := backplanetest.NewFaults(newBus(), 1)
		b := start(t, broker.WithBackplane(faults.Line("b")), broker.WithLease(time.Minute))
		faults.Line("b").Delay(100*time.Millisecond, 200*time.Millisecond)
		faults.Line("b").Late(500*time.Millisecond, time.Second)
		begun := time.Now()
		r := connect(t, b, "joe")
		if took := time.Since(begun); took > time.Second {
			t.Errorf("connecting took %v", took)
		}
		must(t, b.Send("joe", text("x")))
		time.Sleep(3 * time.Second)
		r.wants("x")
		must(t, b.Healthy())
		faults.Calm()
	})
}
