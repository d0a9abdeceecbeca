package backplanetest

import (
	"context"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// call does one call over the line with all that may happen to it. closed, which
// may be nil, ends it.
func (l *Line) call(ctx context.Context, closed <-chan struct{}, op Op, do func() error) error {
	if err := over(ctx, closed); err != nil {
		return err
	}
	lot := l.draw(op)
	if err := wait(ctx, closed, lot.there); err != nil {
		return err
	}
	cuts, err := l.pass(ctx, closed)
	if err != nil {
		return err
	}
	if lot.fails[Before] {
		return ErrInjected
	}
	result := do()
	if err := wait(ctx, closed, lot.back); err != nil {
		return err
	}
	if now, _ := l.now(); now.cuts != cuts {
		if now.how == Refuse {
			return ErrCut
		}
		if _, err := l.pass(ctx, closed); err != nil {
			return err
		}
	}
	if lot.fails[After] {
		return ErrInjected
	}
	return result
}

// pass waits until the line is not cut, or returns an error when that is how it was
// cut. It returns how often the line has been cut.
func (l *Line) pass(ctx context.Context, closed <-chan struct{}) (cuts int, err error) {
	for {
		s, changed := l.now()
		if !s.cut {
			return s.cuts, nil
		}
		if s.how == Refuse {
			return 0, ErrCut
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-closed:
			return 0, backplane.ErrClosed
		}
	}
}

// over returns why a call has to end.
func over(ctx context.Context, closed <-chan struct{}) error {
	select {
	case <-closed:
		return backplane.ErrClosed
	default:
		return ctx.Err()
	}
}

// wait lets time pass.
func wait(ctx context.Context, closed <-chan struct{}, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-closed:
		return backplane.ErrClosed
	}
}
