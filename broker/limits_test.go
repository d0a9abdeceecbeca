package broker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
)

func TestConnectionLimits(t *testing.T) {
	for name, test := range map[string]struct {
		option  broker.Option
		allowed int // of 10 connections of joe
		ann     bool
	}{
		"node":   {broker.WithMaxConnections(3), 3, false},
		"client": {broker.WithMaxConnectionsPerClient(2), 2, true},
		"none":   {broker.WithMaxConnections(0), 10, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				nodes, _ := cluster(t, 2, test.option)
				b := nodes[0]
				j := new(journal)
				b.SetDisconnectCallback(func(client, _ string) { j.note("%s", client) })
				var open []*reader
				for range 10 {
					k := newSink()
					r, cancel := request(t)
					conn, err := b.Connect("joe", k, r)
					if err != nil {
						mustBe(t, err, broker.ErrTooManyConnections)
						isComeBack(t, k)
						continue
					}
					open = append(open, &reader{sink: k, t: t, conn: conn, cancel: cancel, done: conn.Done()})
				}
				if len(open) != test.allowed {
					t.Fatalf("%d connections", len(open))
				}
				r, _ := request(t)
				if _, err := b.Connect("ann", newSink(), r); (err == nil) != test.ann {
					t.Errorf("the other client: %v", err)
				}
				connect(t, nodes[1], "joe") // the limit is a node's
				must(t, b.Broadcast(text("x")))
				open[0].wants("x")
				synctest.Wait()
				j.wants(t) // who was refused was never there
				open[0].leave()
				connect(t, b, "joe") // one may come for one that goes
			})
		})
	}
}

// A connection that is still being set up counts.
func TestConnectionsBeingSetUpCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := start(t, broker.WithBackplane(wire), broker.WithMaxConnections(1), broker.WithLease(time.Hour))
		synctest.Wait()
		wire.cutOff()
		errs := make(chan error, 10)
		for range cap(errs) {
			go func() {
				r, _ := request(t)
				_, err := b.Connect("joe", newSink(), r)
				errs <- err
			}()
		}
		accepted := 0
		for range cap(errs) {
			if err := <-errs; err == nil {
				accepted++
			} else {
				mustBe(t, err, broker.ErrTooManyConnections)
			}
		}
		if accepted != 1 {
			t.Errorf("%d accepted", accepted)
		}
		wire.heal()
	})
}
