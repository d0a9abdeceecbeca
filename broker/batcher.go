package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/sseplane/sseplane/backplane"
)

// batcher publishes what its callers give it: one batch is under way at a time,
// and what comes meanwhile leaves together in the next. A lone message leaves
// at once.
type batcher struct {
	log      backplane.Log
	producer string
	logger   *slog.Logger
	signal   chan struct{}

	mu      sync.Mutex // guards the rest
	pending []*publication
	bytes   int
	closed  bool
}

// What one batch, and what waits for the next, may hold. One message is always taken.
const (
	maxBatch        = 256
	maxBatchBytes   = 1 << 20
	maxPending      = 64 << 10
	maxPendingBytes = 64 << 20
)

// publication is one message and the caller that waits for it.
type publication struct {
	message backplane.Message
	gone    <-chan struct{} // the caller has given up
	done    chan struct{}   // closed when the result is there
	pos     backplane.Position
	err     error
}

func (p *publication) finish(pos backplane.Position, err error) {
	p.pos, p.err = pos, err
	close(p.done)
}

func newBatcher(log backplane.Log, producer string, logger *slog.Logger) *batcher {
	return &batcher{log: log, producer: producer, logger: logger, signal: make(chan struct{}, 1)}
}

// publish appends one message to the log. It blocks until the bus has accepted
// it, or ctx ends: then it may or may not be accepted, now or a little later.
func (b *batcher) publish(ctx context.Context, m backplane.Message) (backplane.Position, error) {
	p := &publication{message: m, gone: ctx.Done(), done: make(chan struct{})}
	if err := ctx.Err(); err != nil {
		return backplane.Position{}, unavailable("publish", err)
	}
	if err := b.enqueue(p); err != nil {
		return backplane.Position{}, err
	}
	select {
	case <-p.done:
		return p.pos, p.err
	case <-ctx.Done():
		return backplane.Position{}, unavailable("publish", context.Cause(ctx))
	}
}

func (b *batcher) enqueue(p *publication) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return ErrClosed
	case len(b.pending) >= maxPending || len(b.pending) > 0 && b.bytes+len(p.message.Data) > maxPendingBytes:
		return fmt.Errorf("%w: %d events wait to be published", ErrUnavailable, len(b.pending))
	}
	b.pending = append(b.pending, p)
	b.bytes += len(p.message.Data)
	signalFunc(b.signal)()
	return nil
}

// close makes further calls fail; what has been queued is still published.
func (b *batcher) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	signalFunc(b.signal)()
}

// run publishes until the batcher is closed and empty, or ctx ends; what is still
// queued then fails.
func (b *batcher) run(ctx context.Context) {
	number := uint64(0)
	for {
		batch, closed := b.next()
		if len(batch) == 0 {
			if closed {
				return
			}
			select {
			case <-b.signal:
			case <-ctx.Done():
				b.close()
				b.fail(ErrClosed)
				return
			}
			continue
		}
		number++
		err := b.send(ctx, batch, number)
		if len(batch) == 1 || !errors.Is(err, ErrEventTooLarge) {
			finishAll(batch, err)
			continue
		}
		for i := range batch { // one of them was too large for the bus: each for itself
			number++
			finishAll(batch[i:i+1], b.send(ctx, batch[i:i+1], number))
		}
	}
}

func finishAll(batch []*publication, err error) {
	for _, p := range batch {
		p.finish(p.pos, err)
	}
}

// next takes the next batch off the queue, without those whose callers are gone.
func (b *batcher) next() (batch []*publication, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	bytes, n := 0, 0
	for _, p := range b.pending {
		size := len(p.message.Data)
		if len(batch) == maxBatch || len(batch) > 0 && bytes+size > maxBatchBytes {
			break
		}
		n++
		b.bytes -= size
		select {
		case <-p.gone:
			p.finish(backplane.Position{}, ErrUnavailable)
			continue
		default:
		}
		batch = append(batch, p)
		bytes += size
	}
	rest := copy(b.pending, b.pending[n:])
	clear(b.pending[rest:])
	if b.pending = b.pending[:rest]; rest == 0 && cap(b.pending) > maxBatch {
		b.pending = nil
	}
	return batch, b.closed
}

func (b *batcher) fail(err error) {
	for {
		batch, _ := b.next()
		if len(batch) == 0 {
			return
		}
		finishAll(batch, err)
	}
}

// send publishes one batch, again and again as it is, until the bus has accepted it
// or nobody waits for it any more.
func (b *batcher) send(ctx context.Context, batch []*publication, number uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := b.cancelWhenDeserted(batch, cancel)
	defer stop()

	messages := make([]backplane.Message, len(batch))
	for i, p := range batch {
		messages[i] = p.message
	}
	out := backplane.Batch{Producer: b.producer, Number: number, Messages: messages}
	for attempt := 0; ; attempt++ {
		positions, err := b.log.Publish(ctx, out)
		switch {
		case err == nil && len(positions) == len(batch):
			for i, p := range batch {
				p.pos = positions[i]
			}
			return nil
		case err == nil:
			return fmt.Errorf("broker: bus answered %d positions for %d events", len(positions), len(batch))
		case errors.Is(err, backplane.ErrTooLarge):
			return fmt.Errorf("%w: %w", ErrEventTooLarge, err)
		case errors.Is(err, backplane.ErrClosed):
			return ErrClosed
		case errors.Is(err, backplane.ErrOldBatch), ctx.Err() != nil:
			return unavailable("publish", err)
		}
		if attempt == 0 {
			b.logger.Warn("sseplane: publishing failed, trying again", "error", err)
		}
		sleep(ctx, backoff(attempt))
		if ctx.Err() != nil {
			return unavailable("publish", err)
		}
	}
}

// cancelWhenDeserted calls cancel when all callers of the batch have given up.
// The function that it returns ends the watch and waits for its end.
func (b *batcher) cancelWhenDeserted(batch []*publication, cancel func()) (stop func()) {
	for _, p := range batch {
		if p.gone == nil { // a context that never ends
			return func() {}
		}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for _, p := range batch {
			select {
			case <-p.gone:
			case <-quit:
				return
			}
		}
		cancel()
	}()
	return func() { close(quit); <-done }
}
