package natstest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Cluster is three servers. Each dials each other one through a proxy, and there is
// no other way between them.
type Cluster struct {
	Servers [3]*Server
	Routes  [3][3]*Proxy // [i][j]: from i to j
	t       testing.TB
}

// StartCluster runs three servers, and waits until they can hold a stream.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	ports := freePorts(t, 6)
	clients, routes := ports[:3], ports[3:]
	for i := range c.Servers {
		for j := range c.Servers {
			if i != j {
				c.Routes[i][j] = NewProxy(t, fmt.Sprintf("127.0.0.1:%d", routes[j]))
			}
		}
	}
	for i := range c.Servers {
		s := newServer(t, fmt.Sprint("n", i), clients[i])
		var to []string
		for j := range c.Servers {
			if i != j {
				to = append(to, fmt.Sprintf("%q", "nats://"+c.Routes[i][j].Addr()))
			}
		}
		// Without gossip, one connection to a pair in each direction: a cut is a cut.
		s.configure(fmt.Sprintf("cluster { name: test, listen: \"127.0.0.1:%d\", no_advertise: true, advertise: \"127.0.0.1:1\", pool_size: 1, routes: [%s] }\naccounts { $SYS { users: [ { user: sys, password: sys } ] } }",
			routes[i], strings.Join(to, ", ")))
		c.Servers[i] = s
		s.Run()
	}
	for _, s := range c.Servers {
		s.Await()
	}
	nc := Connect(t, c.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c.Eventually("the cluster holds a stream", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "up", Subjects: []string{"up"}, Replicas: 3, Storage: jetstream.MemoryStorage})
		if err == nil {
			err = js.DeleteStream(ctx, "up")
		}
		return err
	})
	return c
}

// Eventually waits until f succeeds: a cluster that elects refuses for a while.
func (c *Cluster) Eventually(what string, f func() error) {
	c.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			for _, s := range c.Servers {
				c.t.Logf("server %s:\n%s", s.Name, s.log.tail())
			}
			c.t.Fatalf("not within 30 s: %s: %v", what, err)
		}
	}
}

// URL returns the URLs of all servers.
func (c *Cluster) URL() string { return c.From(0) }

// From returns the URLs of all servers, that of server i first.
func (c *Cluster) From(i int) string {
	var urls []string
	for j := range c.Servers {
		urls = append(urls, c.Servers[(i+j)%3].URL())
	}
	return strings.Join(urls, ",")
}

// Between does f to both directions of a pair of routes.
func (c *Cluster) Between(i, j int, f func(*Proxy)) {
	f(c.Routes[i][j])
	f(c.Routes[j][i])
}

// Isolate does f to all routes of a server.
func (c *Cluster) Isolate(i int, f func(*Proxy)) {
	for j := range c.Servers {
		if j != i {
			c.Between(i, j, f)
		}
	}
}

// Leader returns which server leads a stream, "" for the whole cluster's
// metadata.
func (c *Cluster) Leader(stream string) int {
	c.t.Helper()
	leader := -1
	c.Eventually("stream "+stream+" has a leader", func() error {
		nc, err := nats.Connect(c.URL(), nats.Timeout(time.Second))
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		info := s.CachedInfo()
		if info.Cluster != nil {
			for i, s := range c.Servers {
				if s.Name == info.Cluster.Leader {
					leader = i
					return nil
				}
			}
		}
		return fmt.Errorf("no leader in %+v", info.Cluster)
	})
	return leader
}

// ConsumerHost returns a server that holds a consumer of a stream.
func (c *Cluster) ConsumerHost(stream string) int {
	c.t.Helper()
	host := -1
	js := JetStream(c.t, c.URL())
	c.Eventually("stream "+stream+" has a consumer", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		list := s.ListConsumers(ctx)
		for info := range list.Info() {
			for i, s := range c.Servers {
				if info.Cluster != nil && info.Cluster.Leader == s.Name {
					host = i
				}
			}
		}
		if host < 0 {
			return fmt.Errorf("none: %v", list.Err())
		}
		return nil
	})
	return host
}
