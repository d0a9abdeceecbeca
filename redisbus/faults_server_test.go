package redisbus_test

import (
	"context"
	"regexp"
	"testing"
	"time"

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
