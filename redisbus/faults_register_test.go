package redisbus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/redisbus/internal/redistest"
)

// openLog opens a log of the test's namespace, until the test ends.
func openLog(t *testing.T, client redis.UniversalClient, cfg backplane.Config) backplane.Log {
	t.Helper()
	log, err := newBus(t, client).Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return log
}

func sessionsOf(node string, n int) []backplane.Session {
	sessions := make([]backplane.Session, n)
	for i := range sessions {
		sessions[i] = backplane.Session{
			ID: fmt.Sprintf("%s/%d", node, i), Client: fmt.Sprintf("client %d", i), Node: node, NodeName: "name", Topics: []string{"a", "b"},
		}
	}
	return sessions
}

// A node dies without a goodbye, on a link that loses replies. Living nodes
// collect its sessions, each once, whatever became of the replies.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	const count = 1000
	server := redistest.Start(t, "redis-7.0")
	proxy := redistest.NewProxy(t, server.Addr)
	cfg := testConfig(t)
	dead := openLog(t, redis.NewClient(&redis.Options{Addr: server.Addr}), cfg)
	if err := dead.Renew(t.Context(), "dead", 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if r, err := dead.Update(t.Context(), "dead", sessionsOf("dead", count), nil); err != nil || len(r.Joined) != count {
		t.Fatalf("%d joined, %v", len(r.Joined), err)
	}

	var mu sync.Mutex
	owed := make(map[string]string) // session to collector
	var wg sync.WaitGroup
	for i := range 4 {
		id := fmt.Sprintf("alive-%d", i)
		log := openLog(t, redis.NewClient(&redis.Options{Addr: proxy.Addr}), cfg)
		wg.Go(func() {
			for start := time.Now(); time.Since(start) < patience; {
				mu.Lock()
				n := len(owed)
				mu.Unlock()
				if n == count {
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), callLimit)
				_ = log.Renew(ctx, id, worldLease)
				debts, err := log.Collect(ctx, id, 20)
				cancel()
				if err != nil {
					continue
				}
				mu.Lock()
				for _, d := range debts {
					if by, twice := owed[d.Session.ID]; twice {
						t.Errorf("session %s is owed by %s and by %s", d.Session.ID, by, id)
					}
					owed[d.Session.ID] = id
				}
				mu.Unlock()
				if log.Settle(t.Context(), id, debts) != nil {
					_ = log.Settle(t.Context(), id, debts)
				}
			}
		})
	}
	for range 30 {
		proxy.LoseReplies(2)
		pass(t, 20*time.Millisecond)
	}
	proxy.LoseReplies(0)
	wg.Wait()
	if len(owed) != count {
		t.Errorf("%d of %d sessions were collected", len(owed), count)
	}
	if err := dead.Renew(t.Context(), "dead", time.Minute); !errors.Is(err, backplane.ErrSwept) {
		t.Errorf("the dead node renewed its lease: %v", err)
	}
}

// A node that is paused for longer than its lease gets it back, or is swept: never both.
func TestNodePaused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "valkey-8.1")
	for i := range 20 {
		cfg := testConfig(t)
		cfg.Namespace += fmt.Sprint(i)
		a := openLog(t, redis.NewClient(&redis.Options{Addr: server.Addr}), cfg)
		b := openLog(t, redis.NewClient(&redis.Options{Addr: server.Addr}), cfg)
		if err := a.Renew(t.Context(), "a", 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Update(t.Context(), "a", sessionsOf("a", 3), nil); err != nil {
			t.Fatal(err)
		}
		pass(t, 30*time.Millisecond)
		var renewed error
		var debts []backplane.Debt
		var wg sync.WaitGroup
		wg.Go(func() { renewed = a.Renew(t.Context(), "a", worldLease) })
		wg.Go(func() { debts, _ = b.Collect(t.Context(), "b", 10) })
		wg.Wait()
		switch {
		case renewed == nil && len(debts) == 0:
		case errors.Is(renewed, backplane.ErrSwept) && len(debts) == 3:
		default:
			t.Errorf("Renew: %v; collected %d of 3", renewed, len(debts))
		}
	}
}

func TestForeignEntries(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-8.0")
	c := server.Client()
	defer c.Close()
	w := newWorld(t, clientsOf(server.Addr, 2)...)
	log := "sseplane:{" + t.Name() + "}:log"
	add := func(args ...any) {
		t.Helper()
		if err := c.Do(context.Background(), append([]any{"xadd", log}, args...)...).Err(); err != nil {
			t.Error(err)
		}
	}
	for i := range 200 {
		add("*", "hello", "world")
		add("*", "e", "nonsense")
		add("*", "d", strings.Repeat("x", i))
	}
	// One that is numbered far ahead of the clock: the nodes have to go on behind it.
	server.Do("xadd", log, fmt.Sprint(time.Now().Add(time.Hour).UnixMicro())+"-0", "a", "b")
	w.flows("behind an entry from the future")
	o := w.finish(true)
	noLoss(t, o)
}

// An entry with the highest number there is would be the last one for ever.
func TestForeignEntryAtTheEnd(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-7.0")
	w := newWorld(t, clientsOf(server.Addr, 2)...)
	server.Do("xadd", "sseplane:{"+t.Name()+"}:log", "18446744073709551615-18446744073709551615", "a", "b")
	if o := w.finish(true); o.resets < 2 {
		t.Errorf("%d resets of 2 nodes", o.resets)
	}
}
