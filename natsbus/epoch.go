package natsbus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sseplane/sseplane/backplane"
)

// epoch is what the bucket says of a namespace's present epoch.
type epoch struct {
	Epoch string `json:"epoch"`
	// Seq and Tag are the position at which it began.
	Seq uint64 `json:"seq"`
	Tag uint16 `json:"tag,omitempty"`
	// Stream is when the stream was created that it belongs to.
	Stream time.Time `json:"stream"`

	revision uint64
}

func (e *epoch) began() backplane.Position {
	return backplane.Position{Epoch: e.Epoch, Seq: e.Seq, Tag: e.Tag}
}

// contains returns ErrEpoch unless p can be a position of e.
func (e *epoch) contains(p backplane.Position) error {
	if p.Epoch != e.Epoch || p.Seq < e.Seq {
		return backplane.ErrEpoch
	}
	return nil
}

func newEpochName() string { return strings.ToLower(rand.Text()[:10]) }

var errNoEpoch = errors.New("natsbus: the namespace has no epoch yet")

// readEpoch asks the leader of the bucket for the present epoch, once.
func (l *busLog) readEpoch(ctx context.Context, on *link) (*epoch, error) {
	var answer struct {
		Message struct {
			Seq     uint64 `json:"seq"`
			Data    []byte `json:"data"`
			Headers []byte `json:"hdrs"`
		} `json:"message"`
	}
	ask := map[string]string{"last_by_subj": "$KV." + l.names.bucket + "." + l.names.epoch}
	err := on.api(ctx, "STREAM.MSG.GET.KV_"+l.names.bucket, ask, &answer)
	if code(err) == codeMessageNotFound || err == nil && len(answer.Message.Data) == 0 {
		return nil, errNoEpoch
	}
	if err != nil {
		return nil, err
	}
	e := epoch{revision: answer.Message.Seq}
	if err := json.Unmarshal(answer.Message.Data, &e); err != nil {
		return nil, fmt.Errorf("natsbus: epoch of %s: %w", l.names.epoch, err)
	}
	return &e, nil
}

// writeEpoch writes e over the entry with that revision, 0 for none. It returns
// false when that is not the newest one.
func (l *busLog) writeEpoch(ctx context.Context, e *epoch, revision uint64) (bool, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return false, err
	}
	m := nats.NewMsg("$KV." + l.names.bucket + "." + l.names.epoch)
	m.Data = data
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, fmt.Sprint(revision))
	_, err = l.main.publish(ctx, m, apiTimeout)
	switch code(err) {
	case codeWrongLastSequence, codeWrongLastConstant:
		return false, nil
	}
	return err == nil, err
}

// ensureEpoch makes sure that there is an epoch, and that it belongs to the
// stream that there is: where that was created anew, all history is gone.
func (l *busLog) ensureEpoch(ctx context.Context, info *jetstream.StreamInfo) error {
	var revision uint64
	switch e, err := l.readEpoch(ctx, l.main); {
	case err == nil && e.Stream.Equal(info.Created):
		return nil
	case err == nil:
		revision = e.revision
	case !errors.Is(err, errNoEpoch):
		return err
	}
	// Whoever loses has the winner's epoch, which is of the same stream, or looks again.
	_, err := l.writeEpoch(ctx, &epoch{Epoch: newEpochName(), Stream: info.Created}, revision)
	return err
}

// epochNow returns the present epoch from the leader, for as long as ctx lasts.
// A namespace without one gets its first.
func (l *busLog) epochNow(ctx context.Context) (*epoch, error) {
	var e *epoch
	var asked time.Time
	err := l.try(ctx, func(ctx context.Context) (err error) {
		asked = time.Now()
		e, err = l.readEpoch(ctx, l.main)
		if errors.Is(err, errNoEpoch) {
			l.stream.doubt()
		}
		return err
	})
	if err == nil {
		l.epochs.keep(e, asked)
	}
	return e, err
}

// epochs keeps the epoch that was read last.
type epochs struct {
	mu     sync.Mutex
	last   *epoch
	asked  time.Time // when last was asked for
	unsure time.Time // until when another one may begin, because a mark for it was seen
}

// epochUnsure is for how long after a mark an epoch may begin: the call that
// stored it writes the epoch next, or fails.
const epochUnsure = 5 * time.Second

// keep keeps what was asked for at the time given, unless the answer to a later
// question is there. (A revision would not do: a bucket that was lost starts again.)
func (k *epochs) keep(e *epoch, asked time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !asked.Before(k.asked) {
		k.last, k.asked = e, asked
	}
}

// doubt notes that a mark for another epoch was seen.
func (k *epochs) doubt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unsure = time.Now().Add(epochUnsure)
}

// sure returns the epoch, unless another one may have begun.
func (k *epochs) sure() *epoch {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Now().Before(k.unsure) {
		return nil
	}
	return k.last
}

// followedEpoch returns the present epoch if this log follows, and has come as far as
// sequence seq: a mark stands before all that is of another epoch.
func (l *busLog) followedEpoch(seq uint64) *epoch {
	s := l.following.Load()
	if s == nil || s.state().seq < seq {
		return nil
	}
	return l.epochs.sure()
}

func (k *epochs) get() *epoch {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

// NewEpoch implements [backplane.Log].
func (l *busLog) NewEpoch(ctx context.Context, old string) (b backplane.Bounds, err error) {
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return b, err
	}
	defer func() { err = leave(err) }()
	for {
		now, err := l.epochNow(ctx)
		if err != nil {
			return b, err
		}
		if now.Epoch != old {
			return l.bounds(ctx)
		}
		// The mark is where the epoch begins if the write below succeeds; it makes
		// followers look at once, and nothing of the new epoch can stand before it.
		next := epoch{Epoch: newEpochName(), Stream: now.Stream}
		at, err := l.mark(ctx, frameEpoch, next.Epoch)
		if err != nil {
			return b, err
		}
		next.Seq, next.Tag = place(at.seq, 0), at.tag
		if _, err := l.writeEpoch(ctx, &next, now.revision); err != nil && !transient(err) {
			return b, err
		}
		// Won, lost or unknown: look.
	}
}
