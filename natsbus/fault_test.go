package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/natsbus/internal/natstest"
)

// hold is how long a fault lasts: time passing is the fault.
func hold(d time.Duration) { time.Sleep(d) }

func TestServerRestart(t *testing.T) {
	s := natstest.Start(t)
	w := newWorld(t, config(), []string{s.URL(), s.URL()})
	w.registers("before")
	for i := range 3 {
		s.Restart()
		t.Logf("flows after %v", w.flows())
		w.registers(fmt.Sprint(i))
	}
	w.check()
}

func TestServerPaused(t *testing.T) {
	s := natstest.Start(t)
	w := newWorld(t, config(), []string{s.URL(), s.URL()})
	w.registers("before")
	s.Pause()
	for _, n := range w.nodes {
		if took := n.wait(t, "it says that it is out of touch", func() bool { return n.link != nil }); took > 2*time.Second {
			t.Errorf("%s said so after %v", n.name, took)
		}
	}
	hold(12 * time.Second)
	s.Resume()
	t.Logf("flows after %v", w.flows())
	w.registers("after")
	w.check()
}

func TestConnectionCut(t *testing.T) {
	s := natstest.Start(t)
	p := natstest.NewProxy(t, s.Addr())
	w := newWorld(t, config(), []string{p.URL(), s.URL()})
	w.registers("before")
	t.Run("closed", func(t *testing.T) {
		p.Drop()
		t.Logf("flows after %v", w.flows())
	})
	t.Run("stalled", func(t *testing.T) {
		p.Stall()
		took := w.nodes[0].wait(t, "it says that it is out of touch", func() bool { return w.nodes[0].link != nil })
		if took > 2*time.Second {
			t.Errorf("said so after %v", took)
		}
		p.Heal()
		t.Logf("flows after %v", w.flows())
	})
	t.Run("refused for long", func(t *testing.T) {
		// Longer than the application's own connection would try.
		p.Cut()
		took := w.nodes[0].wait(t, "it says that it is out of touch", func() bool { return w.nodes[0].link != nil })
		if took > 2*time.Second {
			t.Errorf("said so after %v", took)
		}
		hold(4 * time.Second)
		p.Heal()
		t.Logf("flows after %v", w.flows())
	})
	w.registers("after")
	w.check()
}

// cluster is one for all tests of a kind: it takes seconds to start.
func cluster(t *testing.T) *natstest.Cluster {
	t.Helper()
	return natstest.StartCluster(t)
}

func clusterWorld(t *testing.T, c *natstest.Cluster) (*world, string) {
	t.Helper()
	cfg := config()
	stream, _ := natsbus.Streams(cfg.Namespace)
	return newWorld(t, cfg, []string{c.From(0), c.From(1), c.From(2)}, natsbus.WithReplicas(3)), stream
}

func TestClusterFaults(t *testing.T) {
	c := cluster(t)
	w, stream := clusterWorld(t, c)
	admin := natstest.Connect(t, c.URL())

	run := func(name string, limit time.Duration, fault func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			fault(t)
			took := w.flows()
			t.Logf("flows %v after the fault", took.Round(time.Millisecond))
			if took > limit {
				t.Errorf("flows only %v after the fault, want %v", took, limit)
			}
			w.registers(name)
			for _, n := range w.nodes {
				n.mu.Lock()
				if n.ended != nil {
					t.Errorf("%s: %v", n.name, n.ended)
				}
				n.mu.Unlock()
			}
		})
	}
	// 20 s: the worst of the cluster's own elections is 9 s, and a frozen machine
	// under the race detector is slow.
	const limit = 20 * time.Second
	run("leader steps down under load", limit, func(t *testing.T) {
		for range 10 {
			if _, err := admin.Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil, 2*time.Second); err != nil {
				t.Log(err)
			}
			hold(200 * time.Millisecond)
		}
	})
	run("leader is killed", limit, func(t *testing.T) {
		s := c.Servers[c.Leader(stream)]
		s.Kill()
		hold(time.Second)
		s.Run()
		s.Await()
	})
	for i, s := range c.Servers { // each is some node's own
		run(fmt.Sprintf("server %d is killed", i), limit, func(t *testing.T) {
			s.Kill()
			hold(time.Second)
			s.Run()
			s.Await()
		})
	}
	run("the server of a consumer is killed", limit, func(t *testing.T) {
		s := c.Servers[c.ConsumerHost(stream)]
		s.Kill()
		hold(time.Second)
		s.Run()
		s.Await()
	})
	for _, d := range []time.Duration{100 * time.Millisecond, 3 * time.Second, 12 * time.Second} {
		run("routes of the leader are cut for "+d.String(), limit, func(t *testing.T) {
			i := c.Leader(stream)
			c.Isolate(i, (*natstest.Proxy).Cut)
			hold(d)
			c.Isolate(i, (*natstest.Proxy).Heal)
		})
	}
	run("routes between two are cut for 3s", limit, func(t *testing.T) {
		i := c.Leader(stream)
		c.Between(i, (i+1)%3, (*natstest.Proxy).Cut)
		hold(3 * time.Second)
		c.Between(i, (i+1)%3, (*natstest.Proxy).Heal)
	})
	run("leader is paused for 12s", limit, func(t *testing.T) {
		s := c.Servers[c.Leader(stream)]
		s.Pause()
		hold(12 * time.Second)
		s.Resume()
	})
	run("consumers are deleted", limit, func(t *testing.T) {
		js, err := jetstream.New(admin)
		if err != nil {
			t.Fatal(err)
		}
		// A server that has no leader to ask drops a request, and followers that are
		// just changing their consumers have none for a moment.
		c.Eventually("consumers are found and deleted", func() error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			log, err := js.Stream(ctx, stream)
			if err != nil {
				return err
			}
			names, n := log.ConsumerNames(ctx), 0
			for name := range names.Name() {
				if err := log.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
					return err
				}
				n++
			}
			if err := names.Err(); err != nil {
				return err
			}
			if n == 0 {
				return errors.New("there is none")
			}
			return nil
		})
	})
	w.check()
}

// TestMinority: a node whose only server is behind a partition notices, says so,
// and goes to another server where it has one.
func TestMinority(t *testing.T) {
	c := cluster(t)
	cfg := config()
	stream, _ := natsbus.Streams(cfg.Namespace)
	first := newWorld(t, cfg, []string{c.From(0)}, natsbus.WithReplicas(3))
	alone := (c.Leader(stream) + 1) % 3
	first.quiet()

	w := newWorld(t, cfg, []string{c.Servers[alone].URL(), c.From(alone), c.From((alone + 1) % 3)}, natsbus.WithReplicas(3))
	stuck, moves := w.nodes[0], w.nodes[1]
	w.registers("before")
	bus, err := natsbus.New(natstest.Connect(t, c.Servers[alone].URL()), natsbus.WithReplicas(3))
	if err != nil {
		t.Fatal(err)
	}
	b := broker.NewBroker(nil, broker.WithBackplane(bus))
	t.Cleanup(func() { _ = b.Close() })
	healthy := func(want bool) time.Duration {
		t.Helper()
		began := time.Now()
		for ; (b.Healthy() == nil) != want; hold(10 * time.Millisecond) {
			if time.Since(began) > patience {
				t.Fatalf("Healthy: %v", b.Healthy())
			}
		}
		return time.Since(began)
	}
	healthy(true)

	began := time.Now()
	c.Isolate(alone, (*natstest.Proxy).Cut)
	if took := healthy(false); took > 3*time.Second {
		t.Errorf("Healthy said so after %v", took)
	} else {
		t.Logf("Healthy said so after %v: %v", took.Round(time.Millisecond), b.Healthy())
	}
	stuck.wait(t, "it says that it is out of touch", func() bool { return stuck.link != nil })
	if took := stuck.linked.Sub(began); took > 3*time.Second {
		t.Errorf("noticed after %v", took)
	} else {
		t.Logf("noticed after %v: %v", took.Round(time.Millisecond), stuck.link)
	}
	moves.mu.Lock()
	had := len(moves.entries)
	moves.mu.Unlock()
	took := moves.wait(t, "it has moved", func() bool { return moves.link == nil && len(moves.entries) > had+20 && time.Since(moves.linked) > 0 })
	t.Logf("the one that can move follows after %v", took.Round(time.Millisecond))
	hold(2 * time.Second)
	c.Isolate(alone, (*natstest.Proxy).Heal)
	t.Logf("all flows %v after healing", w.flows().Round(time.Millisecond))
	healthy(true)
	w.registers("after")
	w.check()
}
