package natsbus

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// busLog is a namespace as one node sees it.
type busLog struct {
	bus    *Bus
	cfg    backplane.Config
	names  names
	clock  clock
	epochs epochs

	// life ends when the log is closed.
	life context.Context
	end  context.CancelFunc

	// connected is closed when the links below, or why they can not be, are known.
	connected chan struct{}
	main      *link // publishes, changes
	feed      *link // follows, reads: large answers would hold up what main waits for
	reader    *asker
	writer    *asker
	linkErr   error

	following atomic.Pointer[source] // of a call of Follow under way whose epoch is the present one

	stream   *ensured     // the log's stream and the epoch's bucket
	capacity atomic.Int64 // what the log's stream may hold, in bytes
	register replica

	mu        sync.Mutex // guards what follows
	closed    bool
	calls     sync.WaitGroup // calls and goroutines under way; added to only while not closed
	producers map[string]*producer
}

func openLog(b *Bus, cfg backplane.Config) *busLog {
	l := &busLog{
		bus:       b,
		cfg:       cfg,
		names:     namesOf(b.options.prefix, cfg.Namespace),
		connected: make(chan struct{}),
		stream:    newEnsured(),
		producers: make(map[string]*producer),
	}
	l.life, l.end = context.WithCancel(context.Background())
	l.register.init(l)
	l.calls.Go(l.connect)
	l.calls.Go(l.keepRetention)
	return l
}

// connect makes the links.
func (l *busLog) connect() {
	defer close(l.connected)
	if l.main, l.linkErr = connect(l.bus.nc, "sseplane"); l.linkErr != nil {
		return
	}
	if l.feed, l.linkErr = connect(l.bus.nc, "sseplane feed"); l.linkErr != nil {
		return
	}
	if l.writer, l.linkErr = newAsker(l.main); l.linkErr != nil {
		return
	}
	l.reader, l.linkErr = newAsker(l.feed)
}

// enter begins a call. The context that it returns ends with the caller's and
// when the log is closed; leave has to be called with the error that the call
// ends with, and returns what the caller is to see.
func (l *busLog) enter(ctx context.Context) (_ context.Context, leave func(error) error, _ error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, nil, backplane.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		l.mu.Unlock()
		return nil, nil, err
	}
	l.calls.Add(1)
	l.mu.Unlock()

	call, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.life, func() { cancel(backplane.ErrClosed) })
	leave = func(err error) error {
		stop()
		cancel(nil)
		l.calls.Done()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return interrupted(ctx.Err(), err)
		case l.life.Err() != nil:
			return backplane.ErrClosed
		}
		return err
	}
	select {
	case <-l.connected:
	case <-call.Done():
		return nil, nil, leave(call.Err())
	}
	if l.linkErr != nil {
		return nil, nil, leave(l.linkErr)
	}
	return call, leave, nil
}

// interruptedError is the error of a context that ended before the bus had
// answered, and what the bus had said until then.
type interruptedError struct{ ctx, last error }

func interrupted(ctx, last error) error { return &interruptedError{ctx, last} }

func (e *interruptedError) Error() string {
	if e.last == nil || e.last.Error() == e.ctx.Error() {
		return e.ctx.Error()
	}
	return e.ctx.Error() + ": " + e.last.Error()
}

func (e *interruptedError) Unwrap() []error { return []error{e.ctx, e.last} }

// Close implements [backplane.Log].
func (l *busLog) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	l.end()

	idle := make(chan struct{})
	go func() {
		defer close(idle)
		l.calls.Wait()
		l.disconnect()
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// disconnect closes the links when nobody uses them any more.
func (l *busLog) disconnect() {
	for _, link := range []*link{l.main, l.feed} {
		if link != nil {
			link.close()
		}
	}
}

// clock estimates the time of the bus from when messages were stored and when
// they arrived.
type clock struct {
	mu     sync.Mutex
	behind time.Duration // the smallest difference seen in the present round
	last   time.Duration // that of the round before
	seen   int
	until  time.Time // when the present round ends
}

// clockRound is for how long a smallest difference counts, about: clocks drift.
const clockRound = 30 * time.Second

// saw notes that a message stored at the time given has arrived now.
func (c *clock) saw(stored int64) {
	now := time.Now()
	d := now.Sub(time.Unix(0, stored))
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.seen == 0:
		c.behind, c.last, c.seen, c.until = d, d, 1, now.Add(clockRound)
	case now.After(c.until):
		c.last, c.behind, c.until = c.behind, d, now.Add(clockRound)
	case d < c.behind:
		c.behind = d
	}
}

// now returns the time of the bus.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(-min(c.behind, c.last))
}
