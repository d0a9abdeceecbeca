package redisbus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
)

const (
	// blockTime is how long a read waits for something new.
	blockTime = 700 * time.Millisecond
	// readTimeout is how long the answer to a read may take. The silence of a dead
	// connection is noticed after that.
	readTimeout = 1700 * time.Millisecond
	// linkPatience is how long a reader that has lost its connection tries to get
	// another one before the follower is told.
	linkPatience = time.Second
	// pageBytes is about how large a page gets.
	pageBytes = 4 << 20
)

// errStale means that the reader is, or seems to be, on another server than the commands.
var errStale = errors.New("redisbus: the follower's server is not the one that is written to")

// follower is one call of Follow.
type follower struct {
	log *log
	to  backplane.Follower

	linked bool      // what to.Link was told last
	told   bool      // whether it was told anything
	heard  time.Time // when the server last answered

	cursor string // the element read last
	count  int    // how many elements were asked for last
	size   int    // the average size of the elements that came last

	// mu guards what the reader shares with the check.
	mu      sync.Mutex
	client  redis.UniversalClient // the reader's own
	at      backplane.Position    // the entry read last
	idle    time.Time             // since when reads have brought nothing; zero while they do
	verdict error                 // why the check has closed the client
}

// Follow implements [backplane.Log].
func (l *log) Follow(ctx context.Context, after backplane.Position, to backplane.Follower) error {
	if err := l.enter(ctx); err != nil {
		return err
	}
	defer l.work.Done()
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(l.closing, end)()
	if after.IsZero() {
		return fmt.Errorf("redisbus: follow: %w", backplane.ErrEpoch)
	}
	f := &follower{log: l, to: to, at: after, cursor: streamID(after.Seq), heard: time.Now()}

	present := l.follows(after.Epoch)
	running, cancel := context.WithCancel(ctx)
	var check sync.WaitGroup
	check.Go(func() { f.check(running) })
	err := f.run(running)
	cancel()
	check.Wait()
	l.followsNoMore(ctx, present, isAny(err, backplane.ErrEpoch, backplane.ErrTrimmed))
	return err
}

// run connects and reads, again and again.
func (f *follower) run(ctx context.Context) error {
	pause := 10 * time.Millisecond
	for {
		err := f.connect(ctx)
		if err == nil {
			pause = 10 * time.Millisecond
			f.link(nil)
			err = f.read(ctx)
		}
		if ctx.Err() != nil {
			return f.log.ended(ctx)
		}
		if errors.Is(err, backplane.ErrEpoch) || errors.Is(err, backplane.ErrTrimmed) {
			return fmt.Errorf("redisbus: follow: %w", err)
		}
		if errors.Is(err, errStale) || time.Since(f.heard) >= linkPatience || f.told && !f.linked {
			f.link(err)
		}
		wait := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return f.log.ended(ctx)
		}
		pause = min(2*pause, 300*time.Millisecond)
	}
}

func (f *follower) link(err error) {
	if f.told && f.linked == (err == nil) {
		return
	}
	f.told, f.linked = true, err == nil
	if err != nil {
		err = fmt.Errorf("redisbus: follow: %w", err)
	}
	f.to.Link(err)
}

// kick closes the reader's client, which interrupts its read, and leaves the reason.
func (f *follower) kick(verdict error) {
	f.mu.Lock()
	client := f.client
	f.client = nil
	if verdict != nil {
		f.verdict = verdict
	}
	f.mu.Unlock()
	if client != nil {
		_ = client.Close() // in its own time: a closed client is all that is wanted
	}
}

// position returns the entry read last.
func (f *follower) position() backplane.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

// connect makes a new client and makes sure that its server has the history so far, and
// that it is the server that is written to.
func (f *follower) connect(ctx context.Context) error {
	f.kick(nil)
	client := followClient(f.log.bus.client)
	f.mu.Lock()
	f.client, f.verdict, f.idle = client, nil, time.Time{}
	f.mu.Unlock()
	if ctx.Err() != nil { // it may have ended before there was a client to close
		f.kick(nil)
		return ctx.Err()
	}
	// What is known before the questions must be in the answers; and the server that is
	// written to comes first: the other can only be further.
	acked := f.log.acked.Load()
	leader, leaderErr := f.log.leader(ctx)
	own, err := f.log.state(ctx, client)
	if err != nil {
		return err
	}
	f.heard = time.Now()
	lacks := func(s state) bool { return f.log.gone(s, f.at, acked) }
	switch {
	case lacks(own) && leaderErr != nil:
		return leaderErr // one server alone is not believed when it denies
	case lacks(own) && lacks(leader):
		return backplane.ErrEpoch
	case lacks(own), leaderErr == nil && (own.epoch != leader.epoch || own.last < leader.last):
		f.log.leaveServer(ctx) // this connection is new: it may be the commands that are astray
		return errStale
	}
	return f.catchUp(ctx, client, own.last)
}

// catchUp reads, without waiting, all that the server had when it was asked.
func (f *follower) catchUp(ctx context.Context, client redis.UniversalClient, last uint64) error {
	for f.at.Seq < last {
		raw, err := f.fetch(ctx, client, -1)
		if err != nil {
			return err
		}
		if len(raw) == 0 {
			return backplane.ErrTrimmed
		}
		f.link(nil)
		if err := f.take(raw); err != nil {
			return err
		}
	}
	return nil
}

// read reads until something is wrong.
func (f *follower) read(ctx context.Context) error {
	f.mu.Lock()
	client := f.client
	f.mu.Unlock()
	if client == nil {
		return f.reason(redis.ErrClosed)
	}
	for {
		raw, err := f.fetch(ctx, client, blockTime)
		if err != nil {
			return f.reason(err)
		}
		if len(raw) == 0 {
			continue
		}
		if err := f.take(raw); err != nil {
			return err
		}
	}
}

// reason returns why a read has failed: what the check has left, or err.
func (f *follower) reason(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.verdict != nil {
		return f.verdict
	}
	return err
}

// fetch reads elements behind the cursor. It returns none if there was nothing for as
// long as it waits.
func (f *follower) fetch(ctx context.Context, client redis.UniversalClient, block time.Duration) ([]redis.XMessage, error) {
	f.mu.Lock()
	if f.idle.IsZero() {
		f.idle = time.Now()
	}
	f.mu.Unlock()
	f.count = max(16, min(maxCount, 4*f.count)) // by steps: what comes may be larger
	if f.size > 0 {
		f.count = max(1, min(f.count, pageBytes/f.size))
	}
	count := f.count
	args := []any{"xread", "count", count, "streams", f.log.keys.log, f.cursor}
	key := int8(4)
	if block >= 0 {
		args = []any{"xread", "count", count, "block", block.Milliseconds(), "streams", f.log.keys.log, f.cursor}
		key = 6
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	cmd := redis.NewXStreamSliceCmd(ctx, args...)
	cmd.SetFirstKeyPos(key)
	err := client.Process(ctx, cmd)
	if errors.Is(err, redis.Nil) {
		f.heard = time.Now()
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f.heard = time.Now()
	streams := cmd.Val()
	if len(streams) == 0 {
		return nil, nil
	}
	return streams[0].Messages, nil
}

// take hands a page to the follower, up to an entry that does not belong.
func (f *follower) take(raw []redis.XMessage) error {
	page := backplane.Page{After: f.at, Now: f.log.serverNow(), Entries: make([]backplane.Entry, 0, len(raw))}
	links := chain{at: f.at}
	acked := f.log.acked.Load()
	var broken error
	var scratch []backplane.Entry
	size := 0
	for _, m := range raw {
		c, ok := parseChunk(m, scratch)
		if !ok {
			f.log.foreign(m)
			f.cursor = m.ID
			continue
		}
		scratch = c.entries
		var entries []backplane.Entry
		if entries, broken = links.next(&c, acked); broken != nil {
			break
		}
		f.cursor = m.ID
		size += c.size + EntryOverhead
		page.Entries = append(page.Entries, entries...)
	}
	page.Upto = links.at
	f.size = size / len(raw)
	f.mu.Lock()
	f.at = links.at
	f.idle = time.Time{}
	f.mu.Unlock()
	if len(page.Entries) > 0 {
		f.to.Page(page)
	}
	return broken
}
