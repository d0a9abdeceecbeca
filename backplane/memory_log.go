package backplane

import (
	"context"
	"sync"
	"time"
)

// What Follow puts into one page at most, so that a follower who starts far
// behind holds up nobody.
const (
	followBytes   = 1 << 20
	followEntries = 1024
)

// memoryLog is a namespace as one node sees it.
type memoryLog struct {
	ns  *namespace
	cfg Config

	closed chan struct{} // closed by Close
	idle   chan struct{} // closed when closed and nobody follows

	mu        sync.Mutex // guards what follows
	isClosed  bool
	followers int
}

// ready returns why a call cannot start: the log is closed, or ctx has ended.
func (l *memoryLog) ready(ctx context.Context) error {
	select {
	case <-l.closed:
		return ErrClosed
	default:
		return ctx.Err()
	}
}

// lock starts a call that does not wait for anything: it takes the lock of the
// namespace unless the call cannot start.
func (l *memoryLog) lock(ctx context.Context) (*namespace, error) {
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	l.ns.mu.Lock()
	return l.ns, nil
}

// trimmed lets go of what the retention has passed over.
func (ns *namespace) trimmed(now time.Time) {
	ns.history.trim(ns.cfg.RetentionBytes, ns.cfg.RetentionAge, now)
}

func (l *memoryLog) Follow(ctx context.Context, after Position, to Follower) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	to.Link(nil)
	for {
		if err := l.ready(ctx); err != nil {
			return err
		}
		page, change, err := l.ns.next(after)
		if err != nil {
			return err
		}
		if change == nil {
			to.Page(page)
			after = page.Upto
			continue
		}
		select {
		case <-change:
		case <-ctx.Done():
		case <-l.closed:
		}
	}
}

// next returns the page behind after, or a channel that is closed when there
// may be one.
func (ns *namespace) next(after Position) (Page, <-chan struct{}, error) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	now := time.Now()
	ns.trimmed(now)
	page, err := ns.history.page(after, followBytes, followEntries, now)
	if err != nil || page.Upto != after {
		return page, nil, err
	}
	return page, ns.change(), nil
}

func (l *memoryLog) Read(ctx context.Context, after Position, maxBytes int) (Page, error) {
	ns, err := l.lock(ctx)
	if err != nil {
		return Page{}, err
	}
	defer ns.mu.Unlock()
	now := time.Now()
	ns.trimmed(now)
	page, err := ns.history.page(after, maxBytes, len(ns.history.slots), now)
	if err != nil {
		return Page{}, err
	}
	return page, nil
}

func (l *memoryLog) Tail(ctx context.Context, maxBytes int) (Page, error) {
	ns, err := l.lock(ctx)
	if err != nil {
		return Page{}, err
	}
	defer ns.mu.Unlock()
	now := time.Now()
	ns.trimmed(now)
	return ns.history.tail(maxBytes, now), nil
}

func (l *memoryLog) Bounds(ctx context.Context) (Bounds, error) {
	ns, err := l.lock(ctx)
	if err != nil {
		return Bounds{}, err
	}
	defer ns.mu.Unlock()
	ns.trimmed(time.Now())
	return ns.history.bounds(), nil
}

func (l *memoryLog) NewEpoch(ctx context.Context, old string) (Bounds, error) {
	ns, err := l.lock(ctx)
	if err != nil {
		return Bounds{}, err
	}
	defer ns.mu.Unlock()
	if ns.history.epoch == old {
		ns.history.begin(ns.bus.newEpoch())
		ns.changed()
	}
	return ns.history.bounds(), nil
}

func (l *memoryLog) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.isClosed {
		l.mu.Unlock()
		return nil
	}
	l.isClosed = true
	close(l.closed)
	if l.followers == 0 {
		close(l.idle)
	}
	l.mu.Unlock()

	select {
	case <-l.idle:
		return nil
	default:
	}
	select {
	case <-l.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter counts a follower, for whom Close has to wait.
func (l *memoryLog) enter() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		return ErrClosed
	}
	l.followers++
	return nil
}

func (l *memoryLog) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followers--
	if l.isClosed && l.followers == 0 {
		close(l.idle)
	}
}
