package broker_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/sseplane/sseplane/broker"
)

func TestStats(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2, broker.WithMaxConnections(3))
		a, b := nodes[0], nodes[1]
		r := connect(t, a, "joe")
		connect(t, a, "joe")
		ann := connect(t, a, "ann")
		req, _ := request(t)
		_, err := a.Connect("ann", newSink(), req)
		mustBe(t, err, broker.ErrTooManyConnections)
		for i := range 10 {
			must(t, b.Broadcast(text(fmt.Sprint(i))))
		}
		pos := publish(t, a, broker.ToClient("ann"), text("x"))
		synctest.Wait()
		s := a.Stats()
		want := broker.Stats{
			NodeName: "a", Position: pos, Sessions: 3, Clients: 2, WindowEntries: 11, WindowBytes: s.WindowBytes,
			Published: 1, Entries: 11, Delivered: 31, Refused: 1,
		}
		if s != want {
			t.Errorf("stats %+v, want %+v", s, want)
		}
		if s.WindowBytes < 11*256 || s.WindowBytes > 11*512 {
			t.Errorf("window of %d bytes", s.WindowBytes)
		}
		if s := b.Stats(); s.Published != 10 || s.Sessions != 0 || s.Delivered != 0 {
			t.Errorf("stats of the other node %+v", s)
		}
		ann.leave()
		connectFrom(t, a, "ann", r.parsed().events[4].ID)
		synctest.Wait()
		if s := a.Stats(); s.Replayed != 6 || s.CatchingUp != 0 || s.Sessions != 3 {
			t.Errorf("stats %+v", s)
		}
		connectFrom(t, b, "ann", "nonsense")
		if s := b.Stats(); s.Resets != 1 {
			t.Errorf("stats %+v", s)
		}
		if _, err := json.Marshal(s); err != nil {
			t.Error(err)
		}
	})
}

func TestReadyAndHealthy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := broker.NewBroker(nil)
		_ = b.Ready() // starts
		synctest.Wait()
		must(t, b.Ready())
		must(t, b.Healthy())
		must(t, b.Close())
		mustBe(t, b.Ready(), broker.ErrClosed)
		mustBe(t, b.Healthy(), broker.ErrClosed)
	})
}
