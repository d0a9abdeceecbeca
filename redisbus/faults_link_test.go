package redisbus_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/redisbus/internal/redistest"
)

// clientsOf returns clients of an address, with the defaults that most users have.
func clientsOf(addr string, n int) []redis.UniversalClient {
	clients := make([]redis.UniversalClient, n)
	for i := range clients {
		clients[i] = redis.NewClient(&redis.Options{Addr: addr})
	}
	return clients
}

// pass lets a fault last.
func pass(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

func noLoss(t *testing.T, o outcome) {
	t.Helper()
	if o.resets != 0 || o.lost != 0 {
		t.Errorf("%d resets, %d lost, of a fault that loses nothing", o.resets, o.lost)
	}
}

func TestConnectionsKilled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-7.0")
	w := newWorld(t, clientsOf(server.Addr, 3)...)
	c := server.Client()
	defer c.Close()
	// One by one, at random, and then all at once.
	for range 40 {
		list, err := c.Do(context.Background(), "client", "list", "type", "normal").Text()
		if err != nil {
			t.Fatal(err)
		}
		ids := clientIDs(list)
		_ = c.Do(context.Background(), "client", "kill", "id", ids[rand.IntN(len(ids))], "skipme", "yes").Err()
		pass(t, 20*time.Millisecond)
	}
	for range 5 {
		if err := c.Do(context.Background(), "client", "kill", "type", "normal", "skipme", "yes").Err(); err != nil {
			t.Fatal(err)
		}
		pass(t, 50*time.Millisecond)
	}
	noLoss(t, w.finish(true))
}

func TestLinkCut(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "valkey-8.1")
	proxy := redistest.NewProxy(t, server.Addr)
	w := newWorld(t, append(clientsOf(proxy.Addr, 2), clientsOf(server.Addr, 1)...)...)
	for range 10 {
		proxy.Cut()
		pass(t, 50*time.Millisecond)
	}
	proxy.Refuse(true)
	proxy.Cut()
	cut := time.Now()
	pass(t, 3*time.Second)
	if after, n := w.told(cut); n != 2 || after > 2*time.Second {
		t.Errorf("%d of 2 nodes were told that they are cut off, after %v", n, after)
	}
	proxy.Refuse(false)
	noLoss(t, w.finish(true))
}

func TestLinkStalled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		up, down bool
	}{
		{"both ways", true, true},
		{"to the server", true, false},
		{"from the server", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, "redis-8.0")
			proxy := redistest.NewProxy(t, server.Addr)
			w := newWorld(t, append(clientsOf(proxy.Addr, 1), clientsOf(server.Addr, 1)...)...)
			// The connections that there are go dead and stay open; new ones work.
			proxy.Stall(c.up, c.down)
			stalled := time.Now()
			w.flows("on new connections")
			if took := time.Since(stalled); took > 6*time.Second {
				t.Errorf("noticed after %v", took)
			}
			proxy.Cut()
			noLoss(t, w.finish(true))
		})
	}
}

func TestRepliesLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-7.0")
	proxy := redistest.NewProxy(t, server.Addr)
	clients := clientsOf(proxy.Addr, 1)
	// A client that repeats what failed, however ours asks it not to.
	clients = append(clients, redis.NewClient(&redis.Options{Addr: proxy.Addr, MaxRetries: 10}))
	w := newWorld(t, clients...)
	for range 60 {
		proxy.LoseReplies(1 + rand.IntN(4))
		pass(t, 25*time.Millisecond)
	}
	proxy.LoseReplies(0)
	noLoss(t, w.finish(true))
}
