package backplanetest

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// lineLog is a log reached over a line.
type lineLog struct {
	line *Line
	log  backplane.Log

	closed chan struct{} // closed by Close
	idle   chan struct{} // closed when closed and nobody follows

	mu        sync.Mutex // guards what follows
	isClosed  bool
	followers int
	// upto is the highest position that Follow has delivered.
	upto backplane.Position
}

func newLineLog(line *Line, log backplane.Log) *lineLog {
	return &lineLog{line: line, log: log, closed: make(chan struct{}), idle: make(chan struct{})}
}

// fetch is a call with a result, of which nothing is returned with an error.
func fetch[T any](ctx context.Context, l *lineLog, op Op, do func() (T, error)) (T, error) {
	var result, zero T
	err := l.line.call(ctx, l.closed, op, func() (err error) {
		result, err = do()
		return err
	})
	if err != nil {
		return zero, err
	}
	return result, nil
}

func (l *lineLog) Publish(ctx context.Context, b backplane.Batch) ([]backplane.Position, error) {
	return fetch(ctx, l, Publish, func() ([]backplane.Position, error) { return l.log.Publish(ctx, b) })
}

func (l *lineLog) Read(ctx context.Context, after backplane.Position, maxBytes int) (backplane.Page, error) {
	p, err := fetch(ctx, l, Read, func() (backplane.Page, error) { return l.log.Read(ctx, after, maxBytes) })
	return l.stale(p), err
}

func (l *lineLog) Tail(ctx context.Context, maxBytes int) (backplane.Page, error) {
	p, err := fetch(ctx, l, Tail, func() (backplane.Page, error) { return l.log.Tail(ctx, maxBytes) })
	return l.stale(p), err
}

// stale returns what a server has of a page that has nothing behind what Follow
// delivered, if the line reads from such a one.
func (l *lineLog) stale(p backplane.Page) backplane.Page {
	if s, _ := l.line.now(); !s.frozen {
		return p
	}
	l.mu.Lock()
	end := l.upto
	l.mu.Unlock()
	if end.Epoch != p.Upto.Epoch || end.Seq >= p.Upto.Seq {
		return p
	}
	for i, e := range p.Entries {
		if e.Position.Seq > end.Seq {
			p.Entries = p.Entries[:i]
			break
		}
	}
	p.Upto = p.After
	if n := len(p.Entries); n > 0 {
		p.Upto = p.Entries[n-1].Position
	}
	return p
}

func (l *lineLog) Bounds(ctx context.Context) (backplane.Bounds, error) {
	return fetch(ctx, l, Bounds, func() (backplane.Bounds, error) { return l.log.Bounds(ctx) })
}

func (l *lineLog) NewEpoch(ctx context.Context, old string) (backplane.Bounds, error) {
	return fetch(ctx, l, NewEpoch, func() (backplane.Bounds, error) { return l.log.NewEpoch(ctx, old) })
}

func (l *lineLog) Renew(ctx context.Context, node string, ttl time.Duration) error {
	return l.line.call(ctx, l.closed, Renew, func() error { return l.log.Renew(ctx, node, ttl) })
}

func (l *lineLog) Release(ctx context.Context, node string) error {
	return l.line.call(ctx, l.closed, Release, func() error { return l.log.Release(ctx, node) })
}

func (l *lineLog) Update(
	ctx context.Context, node string, add []backplane.Session, end []string,
) (backplane.UpdateResult, error) {
	return fetch(ctx, l, Update, func() (backplane.UpdateResult, error) { return l.log.Update(ctx, node, add, end) })
}

func (l *lineLog) Collect(ctx context.Context, node string, limit int) ([]backplane.Debt, error) {
	return fetch(ctx, l, Collect, func() ([]backplane.Debt, error) { return l.log.Collect(ctx, node, limit) })
}

func (l *lineLog) Settle(ctx context.Context, node string, debts []backplane.Debt) error {
	return l.line.call(ctx, l.closed, Settle, func() error { return l.log.Settle(ctx, node, debts) })
}

func (l *lineLog) Sessions(ctx context.Context, clients ...string) iter.Seq2[backplane.Session, error] {
	return func(yield func(backplane.Session, error) bool) {
		var sessions []backplane.Session
		err := l.line.call(ctx, l.closed, Sessions, func() error {
			for s, err := range l.log.Sessions(ctx, clients...) {
				if err != nil {
					return err
				}
				sessions = append(sessions, s)
			}
			return nil
		})
		if err != nil {
			sessions = sessions[:len(sessions)/2]
		}
		for _, s := range sessions {
			if !yield(s, nil) {
				return
			}
		}
		if err != nil {
			yield(backplane.Session{}, err)
		}
	}
}

func (l *lineLog) Presence(ctx context.Context, clients ...string) ([]backplane.Presence, error) {
	return fetch(ctx, l, Presence, func() ([]backplane.Presence, error) { return l.log.Presence(ctx, clients...) })
}

func (l *lineLog) Put(ctx context.Context, facts []backplane.Fact) error {
	return l.line.call(ctx, l.closed, Put, func() error { return l.log.Put(ctx, facts) })
}

func (l *lineLog) Facts(ctx context.Context, clients ...string) ([]backplane.Fact, error) {
	return fetch(ctx, l, Facts, func() ([]backplane.Fact, error) { return l.log.Facts(ctx, clients...) })
}

// Close never fails for the line's sake: what it releases is on this side.
func (l *lineLog) Close(ctx context.Context) error {
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
	err := l.log.Close(ctx)
	select {
	case <-l.idle:
		return err
	default:
	}
	select {
	case <-l.idle:
		return err
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
}

// enter counts a follower, for whom Close has to wait.
func (l *lineLog) enter() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		return backplane.ErrClosed
	}
	l.followers++
	return nil
}

func (l *lineLog) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followers--
	if l.isClosed && l.followers == 0 {
		close(l.idle)
	}
}

// delivered notes how far Follow has come.
func (l *lineLog) delivered(p backplane.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.Epoch != l.upto.Epoch || p.Seq > l.upto.Seq {
		l.upto = p
	}
}
