package redisbus_test

import (
	"context"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/redisbus/internal/redistest"
)

func clientIDs(list string) []string {
	var ids []string
	for _, m := range regexp.MustCompile(`(?m)^id=(\d+) `).FindAllStringSubmatch(list, -1) {
		ids = append(ids, m[1])
	}
	return ids
}

func TestServerPaused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-7.0")
	w := newWorld(t, clientsOf(server.Addr, 2)...)
	server.Pause()
	paused := time.Now()
	pass(t, 10*time.Second)
	server.Resume()
	if after, n := w.told(paused); n != 2 || after > 2200*time.Millisecond {
		t.Errorf("%d of 2 nodes were told that they are cut off, after %v", n, after)
	}
	o := w.finish(true)
	noLoss(t, o)
	if o.refused == 0 {
		t.Error("no publish failed while the server stood still")
	}
}

func TestServerRestartedWithData(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-8.0", redistest.Args("--appendonly", "yes", "--appendfsync", "always"))
	w := newWorld(t, clientsOf(server.Addr, 2)...)
	for range 2 {
		server.Kill()
		server.Launch()
		w.flows("after a restart")
	}
	noLoss(t, w.finish(true))
}

func TestServerRestartedWithOlderData(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-7.0")
	w := newWorld(t, clientsOf(server.Addr, 2)...)
	server.Do("save")
	pass(t, 300*time.Millisecond)
	server.Kill()
	server.Launch()
	o := w.finish(true)
	if o.resets == 0 {
		t.Error("events were lost and nobody was told")
	}
}

func TestServerRestartedEmpty(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "valkey-8.1")
	w := newWorld(t, clientsOf(server.Addr, 2)...)
	server.Kill()
	server.Launch()
	if o := w.finish(false); o.resets < 2 {
		t.Errorf("%d resets of 2 nodes", o.resets)
	}
}

func TestFlushAll(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-7.0")
	w := newWorld(t, clientsOf(server.Addr, 2)...)
	server.Do("flushall")
	if o := w.finish(false); o.resets < 2 {
		t.Errorf("%d resets of 2 nodes", o.resets)
	}
}

func TestScriptFlush(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-8.0")
	w := newWorld(t, clientsOf(server.Addr, 2)...)
	for range 20 {
		server.Do("script", "flush")
		pass(t, 20*time.Millisecond)
	}
	o := w.finish(true)
	noLoss(t, o)
	if o.refused != 0 {
		t.Errorf("%d publishes failed", o.refused)
	}
}

func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-7.0")
	w := newWorld(t, clientsOf(server.Addr, 2)...)
	server.Do("config", "set", "maxmemory", "1mb")
	w.eventually("publishes fail", func() error {
		for _, n := range w.nodes {
			n.mu.Lock()
			refused := n.refused
			n.mu.Unlock()
			if refused == 0 {
				return context.DeadlineExceeded
			}
		}
		return nil
	})
	server.Do("config", "set", "maxmemory", "0")
	noLoss(t, w.finish(true))
}

// A server that does not answer must not keep a node from closing.
func TestCloseOnPausedServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-7.0")
	// Timeouts of a client that is ready to wait for ever.
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ReadTimeout: time.Hour, WriteTimeout: time.Hour, MaxRetries: 10})
	log, err := newBus(t, client).Open(t.Context(), testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := log.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	n := &node{t: t}
	go func() { ended <- log.Follow(context.Background(), b.Last, n) }()
	redistest.Eventually(t, "it follows", n.lastLink)
	server.Pause()
	defer server.Resume()
	go func() {
		_, err := log.Publish(context.Background(), backplane.Batch{Producer: "p", Number: 1, Messages: []backplane.Message{{}}})
		ended <- err
	}()
	pass(t, 100*time.Millisecond)
	start := time.Now()
	if err := log.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 1500*time.Millisecond {
		t.Errorf("Close took %v", took)
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, backplane.ErrClosed) {
			t.Errorf("a call under way: %v", err)
		}
	}
}

// slow is a follower whose first page waits.
type slow struct{ first chan struct{} }

func (s slow) Page(backplane.Page) { <-s.first }
func (s slow) Link(error)          {}

// What a node's own publishers were told of must not vanish in silence, even if
// the node has not read it yet.
func TestLossOfUnread(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-8.0")
	log := openLog(t, redis.NewClient(&redis.Options{Addr: server.Addr}), testConfig(t))
	b, err := log.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	number := uint64(0)
	publish := func() {
		t.Helper()
		number++
		if _, err := log.Publish(t.Context(), backplane.Batch{Producer: "p", Number: number, Messages: []backplane.Message{{}}}); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	ended := make(chan error, 1)
	s := slow{make(chan struct{})}
	go func() { ended <- log.Follow(context.Background(), b.Last, s) }()
	s.first <- struct{}{} // it has the first entry, and waits in the page of the next
	publish()
	server.Do("save")
	publish()
	server.Kill()
	server.Launch()
	close(s.first)
	select {
	case err := <-ended:
		if !errors.Is(err, backplane.ErrEpoch) {
			t.Errorf("Follow: %v", err)
		}
	case <-time.After(patience):
		t.Error("nobody was told")
	}
}
