package redisbus

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A caller whose context ends is not held up for long by a server that answered quickly until it stopped,
// and what it repeats is accepted once.
func TestCallerIsHeldShortly(t *testing.T) {
	t.Parallel()
	l, server, client := openAlone(t)
	mustPublish(t, l, "node", 1)
	for range 100 { // until one reply was quick
		if l.quick.Load() {
			break
		}
		mustPublish(t, l, "node", 1)
	}
	if !l.quick.Load() {
		t.Fatal("no reply came quickly")
	}
	server.Pause()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	start := time.Now()
	_, err := l.Publish(ctx, batchOf("node", 2))
	took := time.Since(start)
	server.Resume()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Publish returned %v", err)
	}
	if took >= 2*callTimeout {
		t.Errorf("it took %v", took)
	}
	if l.quick.Load() {
		t.Error("the next publish would be held up too")
	}
	first, again := mustPublish(t, l, "node", 2), mustPublish(t, l, "node", 2)
	if n := client.XLen(t.Context(), l.keys.log).Val(); first != again || n != 2 {
		t.Errorf("%v, %v, and %d elements", first, again, n)
	}
}
