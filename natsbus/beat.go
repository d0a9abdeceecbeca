package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// When nothing has come for beatAfter, a beat is stored: that proves that the
// server has a quorum, and its coming back within deafAfter, that the consumer
// hears of what is stored. A server behind a partition goes on sending
// heartbeats for ever, and answering reads.
const (
	beatAfter   = 500 * time.Millisecond
	beatTimeout = 800 * time.Millisecond
	deafAfter   = 500 * time.Millisecond
	beatLook    = 50 * time.Millisecond
)

// beat keeps beats coming until ctx ends.
func (f *follow) beat(ctx context.Context) {
	l := f.log
	own := true // the first one, so that a new follower knows at once
	for {
		s := f.source.state()
		if wait := beatAfter - time.Since(s.fresh); wait > 0 && !own {
			if sleep(ctx, max(wait, beatLook)) != nil {
				return
			}
			continue
		}
		if !l.ready(ctx) {
			if sleep(ctx, beatLook) != nil {
				return
			}
			continue
		}
		// All idle nodes store one beat between them, unless their clocks differ:
		// then one is taken for a repetition of an old one and proves nothing.
		id := ""
		if !own {
			id = fmt.Sprintf("beat-%d", time.Now().UnixMilli()/beatAfter.Milliseconds())
		}
		at, err := l.beatOnce(ctx, id)
		own = false
		switch {
		case err != nil:
			if errors.Is(err, nats.ErrNoResponders) {
				l.stream.doubt()
			}
			if sleep(ctx, beatLook) != nil {
				return
			}
		case at.seq <= s.seq:
			own = at.dup
		default:
			f.awaitBeat(ctx, at.seq)
		}
	}
}

// ready waits a while for the connection and the log's stream. Beats go on while
// another connection looks in vain whether the stream is there: they are what
// gets this one away from a server that is alone.
func (l *busLog) ready(ctx context.Context) bool {
	attempt, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	if l.feed.await(attempt) != nil {
		return false
	}
	if !l.stream.is() {
		_ = l.ensureLog(attempt)
	}
	return ctx.Err() == nil
}

// awaitBeat waits for a beat to come back.
func (f *follow) awaitBeat(ctx context.Context, seq uint64) {
	for end := time.Now().Add(deafAfter); ; {
		s := f.source.state()
		switch {
		case s.seq >= seq:
			return
		case time.Now().After(end):
			// It may be behind a long way and coming along, or wait for the follower.
			if time.Since(s.fresh) > deafAfter && !s.waiting {
				f.source.kick(errDeaf)
			}
			return
		}
		if sleep(ctx, beatLook/5) != nil {
			return
		}
	}
}
