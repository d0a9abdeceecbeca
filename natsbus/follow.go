package natsbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// What Follow puts into one page at most, so that a follower who starts far
// behind holds up nobody.
const (
	followBytes   = 1 << 20
	followEntries = 2048
)

// When a follower says that it is out of touch: beats come back every
// half a second, so this leaves room for one that is late.
const (
	silence   = 1600 * time.Millisecond
	lookEvery = 100 * time.Millisecond
	// epochEvery is how often a follower asks for the epoch, and epochTimeout how
	// long one answer may take, so that it knows of a new one within 2 s.
	epochEvery   = 700 * time.Millisecond
	epochTimeout = time.Second
)

// Follow implements [backplane.Log].
func (l *busLog) Follow(ctx context.Context, after backplane.Position, to backplane.Follower) (err error) {
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	defer func() { err = leave(err) }()
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	f := follow{log: l, to: to, origin: after, after: after, source: l.newSource(l.names.log, anchor{Position: after}), look: make(chan struct{}, 1)}
	parts.Go(func() { f.source.run(ctx) })
	parts.Go(func() { f.beat(ctx) })
	parts.Go(func() { f.watchEpoch(ctx) })
	defer parts.Wait()
	defer l.following.CompareAndSwap(f.source, nil)
	defer f.source.fail(context.Canceled)
	defer cancel()
	return f.run(ctx)
}

// follow is one call of Follow.
type follow struct {
	log    *busLog
	to     backplane.Follower
	origin backplane.Position // where it begins
	after  backplane.Position // the end of what has been delivered
	source *source
	look   chan struct{} // has a token when the epoch may have changed

	linked  bool // what the follower was told last
	told    bool // it was told at all
	mu      sync.Mutex
	current bool // the epoch has been seen to be after's; guarded by mu
}

func (f *follow) setCurrent() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = true
	f.log.following.Store(f.source)
	f.source.signal()
}

func (f *follow) isCurrent() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

func (f *follow) run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-f.source.wake:
			if err := f.deliver(ctx); err != nil {
				return err
			}
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		f.link()
	}
}

// deliver hands over what has come.
func (f *follow) deliver(ctx context.Context) error {
	if !f.isCurrent() {
		// Nothing is delivered under an epoch that is not known to be the
		// present one. The watch says when it is, or why it never will be.
		f.source.mu.Lock()
		err := f.source.err
		f.source.mu.Unlock()
		return err
	}
	messages, err := f.source.take()
	if err != nil {
		return err
	}
	b := newPageBuilder(f.after, followBytes)
	for i := 0; i < len(messages); {
		d, err := messages[i].decode()
		if err != nil {
			return err
		}
		if d.kind == frameEpoch {
			select {
			case f.look <- struct{}{}:
			default:
			}
		}
		full := !b.add(&d)
		if !full {
			i++
		}
		if full || len(b.page.Entries) >= followEntries || i == len(messages) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			b.page.Now = f.log.clock.now()
			if b.page.Upto != b.page.After {
				f.linkUp()
				f.to.Page(b.page)
			}
			f.after = b.page.Upto
			b = newPageBuilder(f.after, followBytes)
		}
	}
	return nil
}

// link tells the follower when it has come into touch with the bus, or got
// out of it.
func (f *follow) link() {
	s := f.source.state()
	quiet := time.Since(s.fresh)
	switch up := quiet < silence || s.waiting; {
	case up && s.reached && f.isCurrent():
		f.linkUp()
	case !up && (f.linked || !f.told):
		f.linked, f.told = false, true
		f.to.Link(f.why(s, quiet))
	}
}

func (f *follow) linkUp() {
	if !f.linked || !f.told {
		f.linked, f.told = true, true
		f.to.Link(nil)
	}
}

func (f *follow) why(s sourceState, quiet time.Duration) error {
	why := s.trouble
	if _, down := f.log.feed.state(); down != nil {
		why = down
	}
	if why == nil {
		why = errors.New("natsbus: nothing that is stored comes back")
	}
	return fmt.Errorf("natsbus: out of touch for %v: %w", quiet.Round(100*time.Millisecond), why)
}

// watchEpoch ends the follow when the epoch is another one than that of its
// position.
func (f *follow) watchEpoch(ctx context.Context) {
	l := f.log
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-f.look:
		case <-ctx.Done():
			return
		}
		wait := epochEvery
		attempt, cancel := context.WithTimeout(ctx, epochTimeout)
		var e *epoch
		var err error
		if f.isCurrent() {
			asked := time.Now()
			e, err = l.readEpoch(attempt, l.feed)
			if err == nil {
				l.epochs.keep(e, asked)
			}
		} else if e, err = l.epochNow(attempt); err != nil {
			wait = retryPauseMax
		}
		cancel()
		if err == nil {
			if err := e.contains(f.origin); err != nil {
				f.source.fail(err) // what has come already stays undelivered unless the epoch was right before
				l.following.CompareAndSwap(f.source, nil)
				return
			}
			f.setCurrent()
		}
		timer.Reset(wait)
	}
}
