package broker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// scanner serves the sessions whose cursor is older than the window: it reads
// the log on the bus, from the lowest of their cursors to the window, and gives
// each page to every session that it meets. Only one scan runs at a time, and a
// page is dropped when it has been handed out.
type scanner struct {
	node   *node
	log    backplane.Log
	logger *slog.Logger
	page   int // bytes
	signal chan struct{}
}

const (
	defaultScanPage = 1 << 20 // bytes
	// scanPause bounds what scans cost the bus: at most 100 pages a second.
	scanPause = 10 * time.Millisecond
)

func newScanner(n *node, log backplane.Log, cfg *config) *scanner {
	sc := &scanner{node: n, log: log, logger: cfg.logger, page: cfg.scanPage, signal: make(chan struct{}, 1)}
	n.scanMore = signalFunc(sc.signal)
	return sc
}

func (sc *scanner) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-sc.signal:
		}
		for attempt := 0; ctx.Err() == nil; {
			if err := sc.scan(ctx); err == nil {
				break
			} else if attempt++; attempt == 1 {
				sc.logger.Warn("sseplane: reading the log for sessions that are far behind failed", "error", err)
			}
			sleep(ctx, backoff(attempt))
		}
	}
}

// scan runs once over the log, as far as there is somebody to read for.
func (sc *scanner) scan(ctx context.Context) error {
	at, ok := sc.node.lowestScanning(backplane.Position{})
	if !ok {
		return nil
	}
	sc.node.counters.scans.Add(1)
	for ok && ctx.Err() == nil {
		var page backplane.Page
		err := bounded(ctx, func(ctx context.Context) (err error) {
			page, err = sc.log.Read(ctx, at, sc.page)
			return err
		})
		switch {
		case errors.Is(err, backplane.ErrTrimmed):
			if err := sc.trimmed(ctx); err != nil {
				return err
			}
		case errors.Is(err, backplane.ErrEpoch):
			if err := sc.contradicted(ctx, at); err != nil {
				return err
			}
		case errors.Is(err, backplane.ErrClosed):
			return nil
		case err != nil:
			return err
		default:
			sc.node.handOut(page)
		}
		sleep(ctx, scanPause)
		at, ok = sc.node.lowestScanning(page.Upto)
	}
	return ctx.Err()
}

// trimmed resets those whose cursor the retention has passed over.
func (sc *scanner) trimmed(ctx context.Context) error {
	return bounded(ctx, func(ctx context.Context) error {
		b, err := sc.log.Bounds(ctx)
		if err == nil {
			sc.node.dropTrimmed(b)
		}
		return err
	})
}

// contradicted deals with a cursor that the log has no such history for. When
// the log has another epoch than the node, the follower finds out the same and resets
// everybody; else it is this one cursor that names what never was.
func (sc *scanner) contradicted(ctx context.Context, at backplane.Position) error {
	return bounded(ctx, func(ctx context.Context) error {
		b, err := sc.log.Bounds(ctx)
		if err == nil && b.Epoch != at.Epoch {
			return backplane.ErrEpoch
		}
		if err == nil {
			sc.node.dropScanning(at, b.First)
		}
		return err
	})
}

// lowestScanning returns the lowest cursor that the scan can serve, not below
// from: those sessions wait for the next scan.
func (n *node) lowestScanning(from backplane.Position) (backplane.Position, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var lowest backplane.Position
	found := false
	for s, ready := range n.scanning {
		if !ready {
			continue // its socket comes for more, when it has taken what it has
		}
		if n.window.covers(s.cursor) {
			n.settle(s)
			continue
		}
		if !from.IsZero() && s.cursor.Epoch == from.Epoch && s.cursor.Seq < from.Seq {
			continue
		}
		if !found || s.cursor.Seq < lowest.Seq {
			lowest, found = s.cursor, true
		}
	}
	if !found && !from.IsZero() && len(n.scanning) > 0 {
		for _, ready := range n.scanning {
			if ready {
				n.scanMore() // they were passed by: another scan
				break
			}
		}
	}
	return lowest, found
}

// handOut gives a page of the log to the sessions that it meets.
func (n *node) handOut(page backplane.Page) {
	w := newWindow(page.After)
	end := n.at() // what is behind it comes with the feed, in step with what concerns clients
	if end.Epoch != page.After.Epoch {
		return
	}
	for _, in := range page.Entries {
		e, err := decodeEntry(in)
		if errors.Is(err, ErrIncompatible) || in.Position.Seq > end.Seq {
			break
		}
		e.prev = w.upto.Seq
		w.add(e.kept())
	}
	if page.Upto.Seq <= end.Seq {
		w.advance(page.Upto)
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	if page.After.Epoch != n.pos.Epoch {
		return
	}
	for s, ready := range n.scanning {
		if !ready || s.cursor.Epoch != w.after.Epoch || s.cursor.Seq < w.after.Seq || s.cursor.Seq >= w.upto.Seq {
			continue
		}
		if w.contradicts(s.cursor) {
			n.resetNow(s, ResetHistory)
			continue
		}
		frames, cursor, _ := w.collect(s, s.cursor.Seq, n.scratch[:0], n.queueFrames, n.queueBytes)
		s.cursor = backplane.Position{Epoch: n.pos.Epoch, Seq: cursor}
		s.lenient = false
		if len(frames) > 0 {
			n.scanning[s] = false // until its socket has taken them
			s.fill(frames, true)
			n.counters.replayed.Add(uint64(len(frames)))
		}
		clear(frames)
		n.scratch = frames
	}
}

// dropTrimmed resets the sessions whose cursor is before the first entry of the log.
func (n *node) dropTrimmed(b backplane.Bounds) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if b.Epoch != n.pos.Epoch {
		return
	}
	for s := range n.scanning {
		switch {
		case s.cursor.Seq >= b.First.Seq:
		case s.lenient:
			s.lenient = false
			s.cursor = b.First
		default:
			n.resetNow(s, ResetRetention)
		}
	}
}

// dropScanning resets the sessions with a cursor that the log contradicts.
func (n *node) dropScanning(at, first backplane.Position) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for s := range n.scanning {
		switch {
		case s.cursor != at:
		case s.lenient:
			s.lenient = false
			s.cursor = first
		default:
			n.resetNow(s, ResetHistory)
		}
	}
}
