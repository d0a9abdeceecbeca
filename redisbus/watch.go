package redisbus

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
)

const (
	// checkEvery is how often a follower is compared with the server that is written to.
	checkEvery = 900 * time.Millisecond
	// checkGrace is how long a reader that waits may take to get what is there.
	checkGrace = 500 * time.Millisecond
	// stateTimeout bounds a question about the state: a follower asks two servers, one
	// after the other, and has to be told within 2 seconds that none answers.
	stateTimeout = 700 * time.Millisecond
)

// state asks the server of a client for the state of the log, once.
func (l *log) state(ctx context.Context, c redis.UniversalClient) (state, error) {
	asked := time.Now()
	accepted := l.newest.Load() // what is known before the question must be in the answer
	s, err := attempt(ctx, l, stateTimeout, func(ctx context.Context) (state, error) {
		reply, err := stateScript.run(ctx, c, []string{l.keys.meta}, accepted.field())
		if err != nil {
			return state{}, err
		}
		return parseState(reply)
	})
	if err == nil {
		l.observe(s, asked)
		s.lost = accepted.missing(s, asked)
	}
	return s, err
}

// leader asks the server that is written to.
func (l *log) leader(ctx context.Context) (state, error) { return l.state(ctx, l.commands) }

// glance asks for the state without the time, which costs the server one command.
func (l *log) glance(ctx context.Context) (state, error) {
	asked, accepted := time.Now(), l.newest.Load()
	s, err := attempt(ctx, l, stateTimeout, func(ctx context.Context) (state, error) {
		c, release := forPipeline(l.commands)
		defer release()
		p := c.Pipeline() // a cache of the client's has no part in it
		cmd := p.HMGet(ctx, l.keys.meta, "epoch", "began", "last", "until", "since", accepted.field(), "trim")
		if _, err := p.Exec(ctx); err != nil {
			return state{}, err
		}
		reply := slices.Insert(cmd.Val(), 4, any(strconv.FormatInt(l.serverNow().UnixMicro(), 10)))
		return parseState(reply)
	})
	s.lost = err == nil && accepted.missing(s, asked)
	return s, err
}

// check compares, until ctx ends, the reader with the server that is written to, which it
// asks by the client that writes. It finds what the chain of entries cannot show: a
// history that was lost while nothing is published, and a server that answers
// every read, rightly, with nothing, because it is no longer the one that
// is written to. And it keeps the keys of a quiet namespace alive. When ctx ends it
// interrupts the reader.
func (f *follower) check(ctx context.Context) {
	defer f.kick(nil)
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for round := 0; ; round++ {
		select {
		case <-tick.C:
		case <-f.log.doubt:
		case <-ctx.Done():
			return
		}
		// What is known before the question must be in the answer.
		at, acked := f.position(), f.log.acked.Load()
		ask := f.log.glance
		if round%16 == 0 {
			ask = f.log.leader // for the time
		}
		s, err := ask(ctx)
		if err == nil && f.log.gone(s, at, acked) {
			s, err = f.log.leader(ctx) // which is exact
		}
		if err != nil {
			f.log.reload(ctx)
			continue // the reader notices by itself if it is cut off too
		}
		switch {
		case f.log.gone(s, at, acked):
			f.kick(f.second(ctx, at, acked))
		case s.last > at.Seq:
			if f.deaf(ctx, s.last) {
				f.kick(errStale)
			}
		}
		if s.epoch != "" && s.until.Sub(s.now) < f.log.ttl*7/8 {
			_ = f.log.renewKeys(ctx) // the next check tries again
		}
	}
}

// second asks the reader's own server whether history is gone: if both say so it is;
// if they disagree the reader is, or the commands are, on the wrong server.
func (f *follower) second(ctx context.Context, at backplane.Position, acked *backplane.Position) error {
	f.mu.Lock()
	client := f.client
	f.mu.Unlock()
	if client == nil {
		return nil
	}
	s, err := f.log.state(ctx, client)
	if err != nil {
		return err
	}
	if f.log.gone(s, at, acked) {
		return backplane.ErrEpoch
	}
	f.log.leaveServer(ctx)
	return errStale
}

// deaf reports whether the reader waits and does not get what is there.
func (f *follower) deaf(ctx context.Context, last uint64) bool {
	waits := func() (time.Time, bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.idle, f.client != nil && !f.idle.IsZero() && f.at.Seq < last
	}
	since, ok := waits()
	if !ok {
		return false
	}
	timer := time.NewTimer(checkGrace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	still, ok := waits()
	return ok && still.Equal(since)
}
