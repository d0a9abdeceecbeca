package backplanetest

import (
	"context"
	"errors"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// errLineChanged ends a run of Follow because the line was cut or frozen.
var errLineChanged = errors.New("backplanetest: the line changed")

// Follow follows in runs: each lasts until the line is cut or frozen; the next one
// begins, when it is healed, where the last delivery ended.
func (l *lineLog) Follow(ctx context.Context, after backplane.Position, to backplane.Follower) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	f := &lineFollow{log: l, to: to, after: after}
	for {
		if err := f.reach(ctx); err != nil {
			return err
		}
		if err := f.run(ctx); !errors.Is(err, errLineChanged) {
			return err
		}
	}
}

// lineFollow is one call of Follow. Only the goroutine of that call uses it.
type lineFollow struct {
	log   *lineLog
	to    backplane.Follower
	after backplane.Position
	told  bool  // to.Link has been called
	link  error // with what
}

func (f *lineFollow) tell(err error) {
	if f.told && errors.Is(f.link, err) {
		return
	}
	f.told, f.link = true, err
	f.to.Link(err)
}

// reach waits until the line is neither cut nor frozen, and tells the follower after
// a while that it is.
func (f *lineFollow) reach(ctx context.Context) error {
	line := f.log.line
	var notice context.Context
	for {
		s, changed := line.now()
		if !s.cut && !s.frozen {
			return nil
		}
		why := ErrStale
		if s.cut {
			why = ErrCut
		}
		if notice == nil {
			var cancel context.CancelFunc
			notice, cancel = context.WithTimeout(ctx, line.drawNotice())
			defer cancel()
		}
		due := notice.Done()
		if notice.Err() != nil {
			f.tell(why)
			due = nil
		}
		select {
		case <-changed:
		case <-due:
		case <-ctx.Done():
		case <-f.log.closed:
		}
		if err := over(ctx, f.log.closed); err != nil {
			return err
		}
	}
}

// run follows until the line changes or Follow ends.
func (f *lineFollow) run(ctx context.Context) error {
	inner, cancel := context.WithCancel(ctx)
	r := &relay{ctx: inner, pages: make(chan backplane.Page), links: make(chan error), took: make(chan struct{})}
	ended := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- f.log.log.Follow(inner, f.after, r)
	}()
	defer func() {
		cancel()
		<-done
	}()
	for {
		s, changed := f.log.line.now()
		if s.cut || s.frozen {
			return errLineChanged
		}
		select {
		case err := <-r.links:
			f.tell(err)
		case page := <-r.pages:
			if err := f.deliver(ctx, page); err != nil {
				return err
			}
			select {
			case r.took <- struct{}{}:
			case <-done:
			}
		case err := <-ended:
			return err
		case <-changed:
		case <-f.log.closed:
			return backplane.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// deliver delivers a page, late and in pieces, unless the line is cut before.
func (f *lineFollow) deliver(ctx context.Context, page backplane.Page) error {
	late, pieces := f.log.line.drawPage()
	if err := f.hold(ctx, late); err != nil {
		return err
	}
	for {
		if err := over(ctx, f.log.closed); err != nil {
			return err
		}
		if s, _ := f.log.line.now(); s.cut || s.frozen {
			return errLineChanged
		}
		piece := page
		if n := pieces(len(page.Entries)); n < len(page.Entries) {
			piece.Entries = page.Entries[:n:n]
			piece.Upto = page.Entries[n-1].Position
			page.Entries, page.After = page.Entries[n:], piece.Upto
		} else {
			page.Entries = nil
		}
		f.after = piece.Upto
		f.log.delivered(piece.Upto)
		f.to.Page(piece)
		if len(page.Entries) == 0 {
			return nil
		}
	}
}

// hold lets a time pass, unless the line is cut meanwhile.
func (f *lineFollow) hold(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		s, changed := f.log.line.now()
		if s.cut || s.frozen {
			return errLineChanged
		}
		select {
		case <-timer.C:
			return nil
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-f.log.closed:
			return backplane.ErrClosed
		}
	}
}

// relay hands what the wrapped log delivers to the goroutine of Follow, one at
// a time.
type relay struct {
	ctx   context.Context
	pages chan backplane.Page
	took  chan struct{} // the last page has been delivered
	links chan error
}

func (r *relay) Page(p backplane.Page) {
	select {
	case r.pages <- p:
	case <-r.ctx.Done():
		return
	}
	select {
	case <-r.took:
	case <-r.ctx.Done():
	}
}

func (r *relay) Link(err error) {
	select {
	case r.links <- err:
	case <-r.ctx.Done():
	}
}
