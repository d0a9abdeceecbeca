package main

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

// tickTopic is where numbered events go: a topic, so that only those get them who
// ask for them.
const tickTopic = "ticks"

// tick is a numbered event. The numbers of one publisher have no holes: a reader
// that knows one knows which one comes next.
type tick struct {
	Publisher string `json:"publisher"`
	N         uint64 `json:"n"`
	Via       string `json:"via"` // the replica that published it
}

// ticker publishes ticks, each through the next replica in turn.
type ticker struct {
	publisher string
	logger    *slog.Logger
	replicas  func() []*replica // those that are running
	cancel    context.CancelFunc
	tasks     sync.WaitGroup
}

func startTicker(cfg config, logger *slog.Logger, replicas func() []*replica) *ticker {
	ctx, cancel := context.WithCancel(context.Background())
	t := &ticker{publisher: "ticker-" + rand.Text()[:6], logger: logger, replicas: replicas, cancel: cancel}
	if cfg.tick > 0 {
		t.tasks.Go(func() { t.run(ctx, cfg.tick) })
	}
	return t
}

func (t *ticker) stop() {
	t.cancel()
	t.tasks.Wait()
}

func (t *ticker) run(ctx context.Context, interval time.Duration) {
	clock := time.NewTicker(interval)
	defer clock.Stop()
	for n, turn := uint64(1), 0; ; turn++ {
		select {
		case <-clock.C:
		case <-ctx.Done():
			return
		}
		if all := t.replicas(); len(all) > 0 && t.publish(ctx, n, all[turn%len(all)]) {
			n++
		}
	}
}

// publish publishes one tick through a replica, and reports whether that is known to
// have succeeded. If not it is tried again, at the next tick of the clock and through the next
// replica; its key makes it count once all the same.
func (t *ticker) publish(ctx context.Context, n uint64, via *replica) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(via.bus.dead, cancel)()
	_, err := via.broker.Publish(ctx, broker.Topics(tickTopic),
		&sse.JsonEvent{Event: "tick", Data: tick{t.publisher, n, via.name}},
		broker.IdempotencyKey(t.publisher+"/"+strconv.FormatUint(n, 10)))
	if err != nil && ctx.Err() == nil {
		t.logger.Warn("a tick was not accepted, trying again", "n", n, "via", via.name, "error", err)
	}
	return err == nil
}
