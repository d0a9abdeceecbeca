package redisbus

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// A server that is at another epoch than the node's takes nothing of it, neither where it is
// asked nor later; when the node has moved there, the same batch is accepted once.
func TestPublishGoesWhereTheNodeFollows(t *testing.T) {
	t.Parallel()
	l, server, client := openAlone(t)
	batch := func(number uint64) backplane.Batch { return batchOf("node", number) }
	entries := func() int64 { return client.XLen(t.Context(), l.keys.log).Val() }
	first, err := l.Publish(t.Context(), batch(1))
	if err != nil {
		t.Fatal(err)
	}

	elsewhere := l.follows("elsewhere")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if got, err := l.Publish(ctx, batch(2)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("published to another epoch: %v, %v", got, err)
	}
	if again, err := l.Publish(t.Context(), batch(1)); err != nil || again[0] != first[0] {
		t.Errorf("what had been accepted is %v, %v, want %v", again, err, first[0])
	}
	if n := entries(); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}

	// An empty server is no exception: it is not known to be the right one.
	server.Do("flushall")
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if got, err := l.Publish(ctx, batch(3)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("published to nowhere: %v, %v", got, err)
	}

	l.followsNoMore(t.Context(), elsewhere, true)
	b, err := l.NewEpoch(t.Context(), "elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := l.Publish(t.Context(), batch(3)); err != nil || got[0].Epoch != b.Epoch {
			t.Errorf("%v, %v after the move to %s", got, err, b.Epoch)
		}
	}
	if n := entries(); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
}
