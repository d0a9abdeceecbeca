package natsbus

import (
	"context"
	"errors"

	"github.com/sseplane/sseplane/backplane"
)

// anchor is the last message that a reader knows. Reading goes on from it, not
// from behind it: that it is still there, the same, is what says that the history
// is the same.
type anchor struct {
	backplane.Position
	time int64 // when it was stored; 0: not known, the position's tag has to do
}

// is reports whether d is the message that the anchor is in.
func (a anchor) is(d *decoded) bool {
	seq, behind := message(a.Seq)
	switch {
	case seq != d.seq, behind > 0 && behind >= len(d.data):
		return false
	case a.time != 0:
		return a.time == d.time
	}
	return a.Tag == 0 || a.Tag == d.tag
}

var errStale = errors.New("natsbus: the server that answered is behind")

// check looks at what a read from the anchor's message on began with. It returns
// nil if what is behind the anchor is all there, errStale if another server has
// to be asked, else why the reader cannot go on.
func (l *busLog) check(ctx context.Context, a anchor, run []stored) error {
	seq, behind := message(a.Seq)
	if len(run) == 0 {
		_, err := l.verdict(ctx, a)
		return err
	}
	switch first := run[0]; {
	case seq == 0 && first.seq == 1:
		return nil
	case first.seq == seq:
		d, err := first.decode()
		if err != nil || a.is(&d) {
			return err
		}
		_, err = l.verdict(ctx, a)
		return err
	case first.seq == seq+1 && behind == 0:
		return nil
	}
	return backplane.ErrTrimmed
}

// verdict finds out whether the history that the anchor belongs to is still
// there. Nobody's word is taken but that of a leader that has stored a mark
// meanwhile: where the mark stands at or before the anchor, the history is
// gone; where it stands behind, the leader knows at least that much.
//
// It returns nil if the log holds all that is behind the anchor, and whether the
// anchor itself is trimmed.
func (l *busLog) verdict(ctx context.Context, a anchor) (trimmed bool, err error) {
	seq, behind := message(a.Seq)
	at, err := l.mark(ctx, frameBeat, "")
	if err != nil {
		return false, err
	}
	if at.seq <= seq {
		return false, backplane.ErrEpoch
	}
	info, err := l.info(ctx)
	if err != nil {
		return false, err
	}
	if info.State.LastSeq < at.seq {
		return false, errStale
	}
	switch first := info.State.FirstSeq; {
	case first == seq+1 && behind == 0:
		return true, nil
	case first > seq:
		return false, backplane.ErrTrimmed
	}
	m, err := l.get(ctx, map[string]any{"seq": seq})
	if err != nil {
		return false, err
	}
	d, err := m.decode()
	if err != nil {
		return false, err
	}
	if !a.is(&d) {
		return false, backplane.ErrEpoch
	}
	return false, errStale
}
