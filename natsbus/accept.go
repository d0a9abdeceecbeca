package natsbus

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// accept stores the parts of a batch. It returns the sequence of each, and the epoch
// that is present when all are stored.
func (l *busLog) accept(ctx context.Context, p *producer, b backplane.Batch, parts []part) ([]uint64, *epoch, error) {
	for {
		before := l.epochs.get()
		if before == nil {
			var err error
			if before, err = l.epochNow(ctx); err != nil {
				return nil, nil, err
			}
		}
		seqs, e, err := l.acceptOnce(ctx, p, b, parts)
		if err != nil || e.Epoch == before.Epoch {
			return seqs, e, err
		}
		// Another history began meanwhile. What was stored before that may be lost.
		lost, err := l.lost(ctx, parts, seqs)
		switch {
		case err != nil:
			return nil, nil, err
		case lost == 0:
			return seqs, e, nil
		case lost < len(parts):
			return nil, nil, errDivided
		}
		p.known = false
		if err := l.recall(ctx, p, b.Producer); err != nil {
			return nil, nil, err
		}
	}
}

// acceptOnce does so once.
func (l *busLog) acceptOnce(ctx context.Context, p *producer, b backplane.Batch, parts []part) ([]uint64, *epoch, error) {
	// A node that follows knows the epoch when it has come that far; another one has to
	// ask, while the answer is awaited.
	present := make(chan *epoch, 1)
	peek := sync.OnceFunc(func() { l.calls.Go(func() { present <- l.peekEpoch(ctx) }) })
	sent := peek
	if l.following.Load() != nil {
		sent = func() {}
	}
	seqs, err := l.publishParts(ctx, p, b, parts, sent)
	if err != nil {
		peek()
		<-present
		return nil, nil, err
	}
	e := l.followedEpoch(slices.Max(seqs) - uint64(len(seqs)))
	if e == nil {
		peek()
		if e = <-present; e == nil {
			e, err = l.epochNow(ctx)
		}
	}
	return seqs, e, err
}

// lost returns how many of the parts are not where they were stored.
func (l *busLog) lost(ctx context.Context, parts []part, seqs []uint64) (n int, err error) {
	for i := range parts {
		var m stored
		err := l.try(ctx, func(ctx context.Context) (err error) {
			m, err = l.get(ctx, map[string]any{"seq": seqs[i]})
			return err
		})
		if code(err) == codeMessageNotFound {
			n++
			continue
		}
		if err != nil {
			return 0, err
		}
		d, err := m.decode()
		if err != nil {
			return 0, err
		}
		f := &parts[i].frame
		if d.tag != f.tag || parts[i].key == "" && (d.number != f.number || d.part != f.part) {
			n++
		}
	}
	return n, nil
}

// peekEpoch asks for the epoch once; if that fails it returns the one known.
func (l *busLog) peekEpoch(ctx context.Context) *epoch {
	asked := time.Now()
	e, err := l.readEpoch(ctx, l.main)
	if err != nil {
		return l.epochs.get()
	}
	l.epochs.keep(e, asked)
	return e
}
