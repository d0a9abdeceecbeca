package natsbus

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sseplane/sseplane/backplane"
)

// Bounds implements [backplane.Log]. It stores a mark: that is what proves
// that the answer is not an isolated server's.
func (l *busLog) Bounds(ctx context.Context) (b backplane.Bounds, err error) {
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return b, err
	}
	defer func() { err = leave(err) }()
	return l.bounds(ctx)
}

func (l *busLog) bounds(ctx context.Context) (backplane.Bounds, error) {
	for {
		at, err := l.mark(ctx, frameBeat, "")
		if err != nil {
			return backplane.Bounds{}, err
		}
		info, err := l.infoAt(ctx, at.seq)
		if err != nil {
			return backplane.Bounds{}, err
		}
		e, err := l.epochNow(ctx)
		if err != nil {
			return backplane.Bounds{}, err
		}
		b := backplane.Bounds{
			Epoch: e.Epoch,
			Began: e.began(),
			First: backplane.Position{Epoch: e.Epoch, Seq: place(info.State.FirstSeq-1, 0)},
			Last:  backplane.Position{Epoch: e.Epoch, Seq: place(at.seq, 0), Tag: at.tag},
		}
		if b.First.Seq <= b.Began.Seq {
			b.First = b.Began
		}
		if b.Last.Seq > b.Began.Seq {
			return b, nil
		}
		// The epoch began after the mark was stored.
	}
}

// infoAt returns the state of the log from a leader that has at least
// sequence seq.
func (l *busLog) infoAt(ctx context.Context, seq uint64) (info *jetstream.StreamInfo, err error) {
	err = l.try(ctx, func(ctx context.Context) (err error) {
		if info, err = l.info(ctx); err == nil && info.State.LastSeq < seq {
			err = errStale
		}
		return err
	})
	return info, err
}

// Tail implements [backplane.Log].
func (l *busLog) Tail(ctx context.Context, maxBytes int) (page backplane.Page, err error) {
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return page, err
	}
	defer func() { err = leave(err) }()
	e, err := l.epochNow(ctx)
	if err != nil {
		return page, err
	}
	err = l.try(ctx, func(ctx context.Context) (err error) {
		page, err = l.tail(ctx, e, maxBytes)
		return err
	})
	return page, err
}

// tail reads the end of the log. There is no reading backwards on the bus, so it
// guesses from the average size of a message where to begin, and begins further
// ahead until the page is full or the log's beginning is reached.
func (l *busLog) tail(ctx context.Context, e *epoch, maxBytes int) (backplane.Page, error) {
	info, err := l.info(ctx)
	if err != nil {
		return backplane.Page{}, err
	}
	state := info.State
	began, _ := message(e.Seq)
	floor := max(state.FirstSeq, began+1, 1) // of what may be on the page
	page := backplane.Page{After: e.began()}
	if floor > began+1 {
		page.After = backplane.Position{Epoch: e.Epoch, Seq: place(floor-1, 0)}
	}
	page.Upto, page.Now = page.After, l.clock.now()
	if state.LastSeq < floor {
		return page, nil
	}
	average := max(state.Bytes/max(state.Msgs, 1), 1)
	back := uint64(max(maxBytes, 0))/average + 16
	var newest []decoded // from some place to the end of the log
	upto := state.LastSeq
	for end := upto; ; back *= 2 {
		from := floor
		if end-floor > back {
			from = end - back
		}
		older, err := l.span(ctx, from, end)
		if err != nil {
			return page, err
		}
		newest = append(older, newest...)
		if from == floor || size(newest) > maxBytes {
			break
		}
		end = from - 1
	}
	return tailPage(page, newest, maxBytes), nil
}

func size(ds []decoded) int {
	n := 0
	for i := range ds {
		for _, data := range ds[i].data {
			n += len(data)
		}
	}
	return n
}

// tailPage puts the last of the messages' entries that fit onto the page.
func tailPage(page backplane.Page, newest []decoded, maxBytes int) backplane.Page {
	room := maxBytes
	for i := len(newest) - 1; i >= 0; i-- {
		d := &newest[i]
		for j := len(d.data) - 1; j >= 0; j-- {
			if room -= len(d.data[j]); room < 0 {
				page.After = backplane.Position{Epoch: page.After.Epoch, Seq: place(d.seq, len(d.data)-1-j), Tag: d.tag}
				newest = newest[i:]
				i = 0
				break
			}
		}
	}
	b := newPageBuilder(page.After, maxBytes)
	b.page.Now = page.Now
	for i := range newest {
		b.add(&newest[i])
	}
	return b.page
}

// span reads the messages from one sequence to another. It fails with a
// transient error where a server does not have them all.
func (l *busLog) span(ctx context.Context, from, to uint64) ([]decoded, error) {
	var out []decoded
	for from <= to {
		run, err := l.run(ctx, l.names.log, from, int(min(readBatch, to-from+1)))
		if err != nil {
			return nil, err
		}
		if len(run) == 0 || run[0].seq != from {
			return nil, errStale
		}
		for i := range run {
			d, err := run[i].decode()
			if err != nil {
				return nil, err
			}
			out = append(out, d)
		}
		from = run[len(run)-1].seq + 1
	}
	return out, nil
}
