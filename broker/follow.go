package broker

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// follower keeps the node up to date with the log: it does the I/O that the
// node itself does not do.
type follower struct {
	node      *node
	log       backplane.Log
	logger    *slog.Logger
	clients   func(ctx context.Context, clients []string) ([]backplane.Fact, error)
	recheck   chan struct{} // sessions wait for an answer of the bus
	moved     chan string   // the bus has moved on to this epoch
	window    int           // bytes
	retention time.Duration
	onDeaf    func()      // disconnects may have been missed
	onBroken  func(error) // the node can follow no longer
	onMoved   func()      // the bus has lost history, and perhaps the register
}

func newFollower(n *node, log backplane.Log, cfg *config) *follower {
	f := &follower{
		node: n, log: log, logger: cfg.logger, window: cfg.windowBytes, retention: cfg.retention,
		recheck: make(chan struct{}, 1),
		moved:   make(chan string, 1),
	}
	n.askBus = signalFunc(f.recheck)
	return f
}

func signalFunc(c chan struct{}) func() {
	return func() {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// run follows the log until ctx ends.
func (f *follower) run(ctx context.Context) {
	if f.retry(ctx, "read the end of the log", f.start) != nil {
		return
	}
	for ctx.Err() == nil {
		err := f.follow(ctx)
		switch {
		case errors.Is(err, ErrIncompatible):
			f.onBroken(err)
			return
		case ctx.Err() != nil || errors.Is(err, backplane.ErrClosed):
			return
		case errors.Is(err, errMoved):
			_ = f.retry(ctx, "find the epoch of the log", f.moveIfMoved)
		case errors.Is(err, backplane.ErrTrimmed):
			_ = f.retry(ctx, "find the start of the log", f.jump)
		case errors.Is(err, backplane.ErrEpoch):
			_ = f.retry(ctx, "find the epoch of the log", f.moveEpoch)
		default:
			f.node.setLink(err)
			f.logger.Warn("sseplane: following the log failed", "error", err)
			sleep(ctx, backoff(3))
		}
	}
}

// start gives the node its first view of the log.
func (f *follower) start(ctx context.Context) error {
	err := f.firstView(ctx)
	if err != nil {
		f.node.setLink(err)
	}
	return err
}

func (f *follower) firstView(ctx context.Context) error {
	if _, err := f.log.Bounds(ctx); err != nil { // makes the first epoch
		return err
	}
	tail, err := f.log.Tail(ctx, f.window)
	if err != nil {
		return err
	}
	f.node.begin(tail)
	return nil
}

// follow follows the log until it can not, or the bus has moved on.
func (f *follower) follow(ctx context.Context) error {
	at := f.node.at()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	go func() { // joined below
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case epoch := <-f.moved:
				if epoch != at.Epoch {
					cancel(errMoved)
				}
			}
		}
	}()
	err := f.log.Follow(ctx, at, stopper{f.node, cancel})
	cause := context.Cause(ctx)
	cancel(nil)
	<-done
	if cause != nil {
		return cause // ours, not the backplane's
	}
	return err
}

// stopper ends following when the node can not take a page.
type stopper struct {
	*node
	cancel context.CancelCauseFunc
}

func (s stopper) Page(p backplane.Page) {
	if err := s.node.take(p); err != nil {
		s.cancel(err)
	}
}

func (s stopper) Link(err error) { s.node.setLink(err) }

// jump goes on from the first entry that is left, after the retention has
// passed over the node.
func (f *follower) jump(ctx context.Context) error {
	b, err := f.log.Bounds(ctx)
	if err != nil {
		return err
	}
	if b.Epoch != f.node.at().Epoch {
		return f.moveTo(ctx, b)
	}
	f.logger.Warn("sseplane: the retention has passed over this node", "first", b.First)
	if f.node.deafFor() > f.retention {
		f.onDeaf() // the register no longer knows all that this node has missed
	}
	return f.startOver(ctx, b.First, ResetRetention)
}

// errMoved: the bus seems to have another epoch than the node.
var errMoved = errors.New("broker: the bus has another epoch")

// moveIfMoved moves to the epoch of the bus if it is not the node's. The hint may
// have been overtaken; then those who asked ask again.
func (f *follower) moveIfMoved(ctx context.Context) error {
	b, err := f.log.Bounds(ctx)
	if err != nil {
		return err
	}
	if b.Epoch != f.node.at().Epoch {
		return f.moveTo(ctx, b)
	}
	f.node.askBus()
	return nil
}

// moveEpoch finds or makes the epoch that follows the node's.
func (f *follower) moveEpoch(ctx context.Context) error {
	b, err := f.log.Bounds(ctx)
	if err != nil {
		return err
	}
	if old := f.node.at().Epoch; b.Epoch == old {
		if b, err = f.log.NewEpoch(ctx, old); err != nil {
			return err
		}
	}
	return f.moveTo(ctx, b)
}

// moveTo moves to another epoch than the node's. One that is behind the node's comes back when the
// bus has failed over to a server that had not heard of the newer one: what is in
// there has been seen, so a new one begins at its end.
func (f *follower) moveTo(ctx context.Context, b backplane.Bounds) (err error) {
	if f.node.isPast(b.Epoch) {
		if b, err = f.log.NewEpoch(ctx, b.Epoch); err != nil {
			return err
		}
		if f.node.isPast(b.Epoch) {
			return errMoved // again
		}
	}
	at := b.Began
	if b.First.Seq > at.Seq {
		at = b.First
	}
	f.logger.Warn("sseplane: the bus has lost history", "epoch", b.Epoch, "position", at)
	return f.startOver(ctx, at, ResetHistory)
}

// startOver puts the node to a new position. What the cluster remembers of its
// clients is read again first, because the node may have missed being told.
func (f *follower) startOver(ctx context.Context, at backplane.Position, reason ResetReason) error {
	facts, err := f.clients(ctx, f.node.clientNames())
	if err != nil {
		return err
	}
	skipped := f.node.notSeen(facts)
	if len(skipped) > 0 { // or they have begun just now
		if b, err := f.log.Bounds(ctx); err != nil || b.Epoch != at.Epoch {
			return cmpErr(err, errMoved)
		}
	}
	moved := at.Epoch != f.node.at().Epoch
	f.node.startOver(at, reason, facts, skipped)
	if moved {
		f.onMoved()
	}
	return nil
}

// runQuestions answers the sessions whose cursor this node can not judge: one
// question to the bus for all of them.
func (f *follower) runQuestions(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.recheck:
		}
		_ = f.retry(ctx, "ask where the log ends", func(ctx context.Context) error {
			asking := f.node.waitingSessions()
			if len(asking) == 0 {
				return nil
			}
			b, err := f.log.Bounds(ctx)
			if err != nil {
				return err
			}
			if f.node.answer(asking, b) {
				select {
				case <-f.moved: // what was said before counts no more
				default:
				}
				f.moved <- b.Epoch // there is room: nobody else says so
			}
			return nil
		})
	}
}

// retry calls do until it succeeds, with growing pauses, and returns an error
// only when ctx has ended or the log is closed.
func (f *follower) retry(ctx context.Context, doing string, do func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		err := bounded(ctx, do)
		if err == nil || ctx.Err() != nil || errors.Is(err, backplane.ErrClosed) {
			return err
		}
		if attempt == 0 {
			f.logger.Warn("sseplane: could not "+doing, "error", err)
		}
		sleep(ctx, backoff(attempt))
	}
}

// callTimeout bounds one call to the bus that nobody's context bounds.
const callTimeout = 5 * time.Second

func bounded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return do(ctx)
}

// backoff returns a pause between 10 ms and 1 s, doubling with each attempt, of
// which half is random.
func backoff(attempt int) time.Duration {
	d := min(20*time.Millisecond<<min(attempt, 10), time.Second)
	return d/2 + rand.N(d/2)
}

// sleep waits, but not longer than ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
