package broker

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// defaultDrain is how long a drain may take when Shutdown's context does not say.
	defaultDrain = 5 * time.Second
	// closeTimeout bounds Close.
	closeTimeout = 5 * time.Second
	// releaseTimeout bounds the goodbye to the bus, when all else is done.
	releaseTimeout = time.Second
	// drainStep is the longest pause between the ends of two sessions in a drain.
	drainStep = 20 * time.Millisecond
)

// stopping is the end of a broker.
type stopping struct {
	publisher, roster, callbacks sync.WaitGroup

	mu      sync.Mutex // guards the rest
	started bool
	stopped bool
	hurry   context.CancelFunc
	done    chan struct{} // closed when all is over
}

// begin notes that there is something to stop, unless it is too late to start.
func (s *stopping) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = !s.stopped
	return s.started
}

// stopping reports whether the end has begun.
func (s *stopping) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// closed reports whether the broker takes no more calls.
func (s *stopping) closed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Shutdown drains the node and then closes it: new connections are told to come
// back, and land on another node; those that exist are told the same, with a
// jittered retry time, and are closed one after the other, 20 milliseconds apart, or
// closer if they are so many that most of the time that ctx leaves (5 seconds if it
// has no deadline) would not do; what was published is published, and
// the disconnect callbacks run. It blocks until all that is done, or ctx ends: then
// the rest is cut short and it returns ctx's error. Callbacks that have not returned by then are
// left to other nodes, which run them, one that was running a second time; Close, called
// after that, does not run them. With an in-memory bus and one node nobody does: give
// ctx time enough for them. A client that takes nothing any more, not
// even the goodbye, holds it up until then, or until its connection is closed (http.Server.Close).
//
// Called from a hook it begins the end and does not wait, like Close.
//
// It composes with http.Server: server.RegisterOnShutdown(func() { b.Shutdown(ctx) }),
// then server.Shutdown(ctx), which does not wait for that function, then b.Close(), which
// waits for what is left of it.
func (b *Broker) Shutdown(ctx context.Context) error {
	drain := defaultDrain
	if deadline, ok := ctx.Deadline(); ok {
		drain = time.Until(deadline) * 3 / 4
	}
	b.teardownOnce(max(drain, 0))
	return b.awaitEnd(ctx)
}

// Close ends all connections at once, runs the disconnect callbacks, and releases
// everything. It waits for all of it for at most 5 seconds; callbacks that have not returned by
// then, or when the context of a Shutdown ended, are left to other nodes. It may be called
// twice, at any time, and from a hook: there it does not wait, because the end
// waits for the hook to return.
func (b *Broker) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	b.teardownOnce(0)
	return b.awaitEnd(ctx)
}

func (b *Broker) awaitEnd(ctx context.Context) error {
	if insideCallback() {
		return nil
	}
	select {
	case <-b.stop.done:
		return nil
	case <-ctx.Done():
		b.stop.hurry()
		return ctx.Err()
	}
}

// teardownOnce begins the end, if it has not begun; a drain of 0 hurries one
// that has.
func (b *Broker) teardownOnce(drain time.Duration) {
	b.stop.mu.Lock()
	defer b.stop.mu.Unlock()
	if b.stop.stopped {
		if drain == 0 {
			b.node.endAll(func(s *session) { s.end(ErrDraining, newFarewellFrame(b.retry())) })
		}
		return
	}
	b.stop.stopped = true
	ctx, cancel := context.WithCancel(context.Background())
	b.stop.hurry = cancel
	if !b.stop.started {
		cancel()
		b.node.refuse(ErrClosed)
		b.cancel()
		close(b.stop.done)
		return
	}
	go func() { // awaited through done
		defer cancel()
		b.teardown(ctx, drain)
		close(b.stop.done)
	}()
}

// teardown ends everything in the order in which one thing needs the other. When
// ctx ends it waits for nothing any more.
func (b *Broker) teardown(ctx context.Context, drain time.Duration) {
	empty := b.node.refuse(ErrDraining)
	b.drain(ctx, drain)
	wait(ctx, empty)
	b.node.refuse(ErrClosed)
	select {
	case <-b.node.reached:
		b.farewell(ctx)
	default: // there is no roster, no publisher
	}
	b.cancel()
	b.tasks.Wait()
	b.stop.publisher.Wait()
	b.stop.roster.Wait()
	waitGroup(ctx, &b.stop.callbacks)
	if b.log == nil {
		return
	}
	closing, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if b.keeper != nil {
		b.roster.settleRest(closing)
		b.keeper.release(closing)
	}
	if err := b.log.Close(closing); err != nil {
		b.cfg.logger.Warn("sseplane: closing the log failed", "error", err)
	}
}

// farewell publishes what is still to be published, and lets the callbacks run.
func (b *Broker) farewell(ctx context.Context) {
	b.publisher.close()
	waitGroup(ctx, &b.stop.publisher)
	b.roster.flush(ctx) // sessions become debts
	b.callbacks.close()
	waitGroup(ctx, &b.stop.callbacks)
	b.roster.close() // debts are settled
	waitGroup(ctx, &b.stop.roster)
}

// drain ends the sessions, in random order, spread over the time given.
func (b *Broker) drain(ctx context.Context, over time.Duration) {
	var sessions []*session
	b.node.endAll(func(s *session) { sessions = append(sessions, s) })
	rand.Shuffle(len(sessions), func(i, j int) { sessions[i], sessions[j] = sessions[j], sessions[i] })
	step := min(over/time.Duration(len(sessions)+1), drainStep)
	begun := time.Now()
	for i, s := range sessions {
		if s.reason() != nil {
			continue // it has ended meanwhile
		}
		if late := begun.Add(time.Duration(i) * step); step > 0 && time.Until(late) > time.Millisecond {
			sleep(ctx, time.Until(late))
		}
		b.node.finish(s, ErrDraining, newFarewellFrame(b.retry()))
	}
}

// finish ends a session after telling it where it stands, so that its cursor is as
// fresh as can be.
func (n *node) finish(s *session, reason error, last *frame) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if empty, _, _, idSeq := s.idle(); empty && s.state == stateLive && idSeq != n.pos.Seq {
		s.end(reason, newPositionFrame(n.pos), last)
		return
	}
	s.end(reason, last)
}

// newLife ends all sessions, and those that are just being set up with them.
func (n *node) newLife(end func(*session)) {
	n.mu.Lock()
	n.life++
	n.mu.Unlock()
	n.endAll(end)
}

// endAll calls end for each session.
func (n *node) endAll(end func(*session)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.sessions {
		end(s)
	}
}

// refuse lets no session join any more. The channel is closed when none is left.
func (n *node) refuse(why error) (empty <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = why
	if n.empty == nil {
		n.empty = make(chan struct{})
	}
	if n.reserved == 0 {
		close2(n.empty)
	}
	return n.empty
}

// wait waits for c, but not longer than ctx.
func wait(ctx context.Context, c <-chan struct{}) {
	select {
	case <-c:
	case <-ctx.Done():
	}
}

// waitGroup waits for g, but not longer than ctx; then g's last goroutine ends the
// one that is started here.
func waitGroup(ctx context.Context, g *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { g.Wait(); close(done) }()
	wait(ctx, done)
}
