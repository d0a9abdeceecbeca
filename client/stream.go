package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/sseplane/sseplane/sse"
)

// Stream is a connection to a server of events, made again whenever it ends. Its methods may be called from several
// goroutines, and from hooks and callbacks.
type Stream struct {
	o      *options
	caller context.Context // given to Open
	ctx    context.Context // ends when the stream is to end
	cancel context.CancelCauseFunc
	task   *task
	done   chan struct{}

	started   chan struct{} // closed when there is a reader
	startOnce sync.Once
	restart   chan struct{} // has a token when a wait is to be cut short

	// Of the stream's own goroutine.
	lastID  string
	backoff backoff

	mu         sync.Mutex // guards what follows
	subs       []*Subscription
	slow       []*Subscription // ended by waitFor and not yet closed
	changed    chan struct{}   // closed and replaced when subs change
	events     *Subscription   // what Events reads from
	cancelConn context.CancelCauseFunc
	ended      bool
	err        error
}

var errRestart = errors.New("client: restart")

// Open starts a stream and returns at once; it connects in the background. An error is one of the arguments. When ctx
// ends, so does the stream, with the cause of ctx.
func Open(ctx context.Context, url string, options ...Option) (*Stream, error) {
	o, err := newOptions(url, options)
	if err != nil {
		return nil, err
	}
	s := newStream(ctx, o)
	go s.run(nil) // Close waits for it
	return s, nil
}

func newStream(ctx context.Context, o *options) *Stream {
	s := &Stream{
		o: o, caller: ctx, task: newTask(), done: make(chan struct{}), started: make(chan struct{}), restart: make(chan struct{}, 1),
		changed: make(chan struct{}), lastID: o.lastEventID,
		backoff: backoff{retry: o.retry, most: o.maxBackoff, stable: o.stable},
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s
}

// Events returns all events from now on, until the stream ends; then the reason, unless it was Close, together with a
// nil event. Leaving the loop neither closes the stream nor loses an event: a later loop continues. All loops of a
// stream share the events, each event going to one of them.
func (s *Stream) Events() iter.Seq2[sse.Event, error] {
	s.mu.Lock()
	if s.events == nil {
		s.events = s.newSubscription("")
		s.events.task.finish() // the loops of the caller are its only goroutines
		s.add(s.events)
	}
	sub := s.events
	s.mu.Unlock()
	return func(yield func(sse.Event, error) bool) {
		for {
			e, err := sub.queue.pop(nil)
			if err != nil {
				if err != ErrClosed {
					yield(nil, err)
				}
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Subscribe returns the events of a type through a channel, from now on. The type "" means all events, "message"
// those without a type too. An error means that the stream has ended, and why.
//
// The subscription must be closed, or the stream, to release what it holds.
func (s *Stream) Subscribe(eventType string) (*Subscription, error) {
	sub := s.newSubscription(eventType)
	sub.feed, sub.errFeed = make(chan sse.Event), make(chan error, 1)
	if err := s.register(sub); err != nil {
		return nil, err
	}
	go sub.pump() // Close waits for it
	return sub, nil
}

// Handle calls f with each event of a type (see Subscribe), one after another, from a goroutine of its own. After stop
// has returned f is not called any more; one call may still be under way, which may be the one that called stop. Why the
// stream ended is for Done and Err to tell.
func (s *Stream) Handle(eventType string, f func(sse.Event)) (stop func(), err error) {
	sub := s.newSubscription(eventType)
	if err := s.register(sub); err != nil {
		return nil, err
	}
	go sub.callBack(f) // stop and Close wait for it
	return sub.Close, nil
}

// Restart drops the connection, if there is one, and makes a new one at once. An event that was not complete is lost
// with it and comes again if it is after the last event ID.
func (s *Stream) Restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancelConn != nil {
		s.cancelConn(errRestart)
	}
	// The connection may be over already, but for the wait that follows.
	signal(s.restart)
}

// Close ends the stream and all that reads from it; events that wait are dropped. When it returns, no hook or callback
// will be called any more and no goroutine is left, but for those that are inside a hook or callback: they end when it
// returns, and it may be what called Close.
func (s *Stream) Close() {
	s.cancel(ErrClosed)
	s.task.stop()
	s.mu.Lock()
	subs := slices.Concat(s.subs, s.slow)
	s.mu.Unlock()
	for _, sub := range subs {
		sub.Close()
	}
}

// Done is closed when the stream has ended and Err says why.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Err returns why the stream ended, nil as long as it has not: ErrClosed, ErrNoContent, the cause of the context's end,
// a *StatusError, a *ContentTypeError, sse.ErrLineTooLong or sse.ErrEventTooLarge.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Stream) newSubscription(eventType string) *Subscription {
	return &Subscription{
		stream: s, eventType: eventType, queue: newQueue(s.o.buffer), closed: make(chan struct{}), task: newTask(),
	}
}

func (s *Stream) register(sub *Subscription) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	s.add(sub)
	return nil
}

// add needs the lock.
func (s *Stream) add(sub *Subscription) {
	if s.ended {
		sub.queue.end(s.err, false)
		return
	}
	s.setSubs(append(slices.Clone(s.subs), sub))
	s.startOnce.Do(func() { close(s.started) })
}

func (s *Stream) remove(sub *Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.slow, sub); i >= 0 {
		s.slow = slices.Delete(s.slow, i, i+1)
	}
	if i := slices.Index(s.subs, sub); i >= 0 {
		s.setSubs(slices.Delete(slices.Clone(s.subs), i, i+1))
	}
}

// setSubs needs the lock. The slice is never changed in place, so that it can be read without.
func (s *Stream) setSubs(subs []*Subscription) {
	s.subs = subs
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Stream) readers() ([]*Subscription, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subs, s.changed
}

// end is called once, by the stream's goroutine.
func (s *Stream) end(err error) {
	s.mu.Lock()
	s.ended, s.err = true, err
	subs := s.subs
	s.mu.Unlock()
	// Who closed the stream wants no more of it; who was told by the server may still read what came before.
	discard := s.ctx.Err() != nil
	for _, sub := range subs {
		sub.queue.end(err, discard)
	}
	s.cancel(err)
	close(s.done)
}

// deliver gives an event to those who want it, and waits where WithBuffer says so.
func (s *Stream) deliver(e sse.Event) {
	size := eventSize(e)
	subs, _ := s.readers()
	for _, sub := range subs {
		if !sub.matches(e.GetEvent()) {
			continue
		}
		for !sub.queue.push(e, size) {
			if !s.waitFor(sub) {
				s.cutOff(sub)
				break
			}
			if s.ctx.Err() != nil {
				return
			}
		}
	}
}

func (s *Stream) cutOff(sub *Subscription) {
	s.mu.Lock()
	if i := slices.Index(s.subs, sub); i >= 0 {
		s.setSubs(slices.Delete(slices.Clone(s.subs), i, i+1))
		s.slow = append(s.slow, sub)
	}
	s.mu.Unlock()
	sub.queue.end(ErrSlowSubscription, false)
	s.failed(ErrSlowSubscription)
}

// patience is how long a full subscription may hold up the others before it has caught up.
const patience = time.Second

// waitFor waits until a full subscription may have room, or returns false if the others have waited for it enough.
func (s *Stream) waitFor(sub *Subscription) bool {
	subs, changed := s.readers()
	var enough <-chan time.Time
	if len(subs) > 1 && !s.o.backpressure {
		if sub.queue.caughtUp() {
			sub.held = 0
		}
		began := time.Now()
		defer func() { sub.held += time.Since(began) }()
		t := time.NewTimer(patience - sub.held)
		defer t.Stop()
		enough = t.C
	}
	select {
	case <-sub.queue.space:
	case <-changed:
	case <-s.ctx.Done():
	case <-enough:
		return false
	}
	return true
}

// failed reports what the stream survives.
func (s *Stream) failed(err error) {
	if err == io.EOF || err == errRestart {
		return
	}
	s.o.logger.Warn("event stream failed", "err", err)
	if s.o.onError != nil {
		s.task.call(func() { s.o.onError(err) })
	}
}
