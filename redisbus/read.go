package redisbus

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
)

// maxCount is how many elements one command reads at most; more is not faster.
const maxCount = 1000

// Read implements [backplane.Log].
func (l *log) Read(ctx context.Context, after backplane.Position, maxBytes int) (backplane.Page, error) {
	if err := l.enter(ctx); err != nil {
		return backplane.Page{}, err
	}
	defer l.work.Done()

	page := backplane.Page{After: after, Upto: after}
	links := chain{at: after}
	budget := newBudget(maxBytes)
	var scratch []backplane.Entry
	from := streamID(after.Seq)
	for {
		count := budget.count()
		s, raw, err := l.scan(ctx, "read", func(p redis.Pipeliner) *redis.XMessageSliceCmd {
			return p.XRangeN(ctx, l.keys.log, "("+from, "+", int64(count))
		})
		if err != nil {
			return backplane.Page{}, err
		}
		if s.lacks(after) && len(page.Entries) == 0 {
			return backplane.Page{}, fmt.Errorf("redisbus: read: %w", backplane.ErrEpoch)
		}
		page.Now = s.now
		for _, m := range raw {
			from = m.ID
			c, ok := parseChunk(m, scratch)
			if !ok {
				l.foreign(m)
				continue
			}
			scratch = c.entries
			entries, err := links.next(&c, nil)
			if err != nil {
				if len(page.Entries) > 0 {
					return page, nil // right so far; the next call says the rest
				}
				return backplane.Page{}, fmt.Errorf("redisbus: read: %w", err)
			}
			budget.saw(c.size)
			for _, e := range entries {
				if len(page.Entries) > 0 && !budget.fits(len(e.Data)) {
					return page, nil
				}
				budget.take(len(e.Data))
				page.Entries = append(page.Entries, e)
				page.Upto = e.Position
			}
		}
		if len(raw) < count {
			if len(page.Entries) == 0 && s.last > after.Seq {
				return backplane.Page{}, fmt.Errorf("redisbus: read: %w", backplane.ErrTrimmed)
			}
			return page, nil
		}
	}
}

// Tail implements [backplane.Log].
func (l *log) Tail(ctx context.Context, maxBytes int) (backplane.Page, error) {
	b, err := l.Bounds(ctx) // begins the namespace if it has not begun
	if err != nil {
		return backplane.Page{}, err
	}
	if err := l.enter(ctx); err != nil {
		return backplane.Page{}, err
	}
	defer l.work.Done()

	page := backplane.Page{Upto: b.Last}
	budget := newBudget(maxBytes)
	var scratch []backplane.Entry
	to := "+"
	newest := true      // no entry has been read yet
	before := uint64(0) // the predecessor of the one read last
scan:
	for {
		count := budget.count()
		s, raw, err := l.scan(ctx, "tail", func(p redis.Pipeliner) *redis.XMessageSliceCmd {
			return p.XRevRangeN(ctx, l.keys.log, to, "-", int64(count))
		})
		if err != nil {
			return backplane.Page{}, err
		}
		page.Now = s.now
		for _, m := range raw {
			to = "(" + m.ID
			c, ok := parseChunk(m, scratch)
			if !ok {
				l.foreign(m)
				continue
			}
			scratch = c.entries
			last := c.last()
			switch {
			case last.Epoch != b.Epoch, newest && last.Seq < b.Last.Seq, !newest && last.Seq != before:
				break scan // of another epoch, or not what the entry behind it names
			case newest:
				page.Upto = last
			}
			newest, before = false, last.Seq
			budget.saw(c.size)
			for i, e := range slices.Backward(c.entries) {
				if !budget.fits(len(e.Data)) {
					break scan
				}
				budget.take(len(e.Data))
				before = c.prev
				if i > 0 {
					before = c.entries[i-1].Position.Seq
				}
				page.Entries = append(page.Entries, e)
			}
		}
		if len(raw) < count {
			break
		}
	}
	slices.Reverse(page.Entries)
	page.After = page.Upto
	if len(page.Entries) > 0 {
		page.After = backplane.Position{Epoch: b.Epoch, Seq: before}
	}
	return page, nil
}

// scan asks for the state and, then, for elements, in one round trip. The state
// comes first: elements that it does not know of can only be newer.
func (l *log) scan(ctx context.Context, what string, ask func(redis.Pipeliner) *redis.XMessageSliceCmd) (state, []redis.XMessage, error) {
	type result struct {
		state state
		raw   []redis.XMessage
	}
	asked := time.Now()
	r, err := do(ctx, l, what, 2*callTimeout, func(ctx context.Context) (result, error) {
		var cmd *redis.XMessageSliceCmd
		reply, err := stateScript.pipelined(ctx, l.commands, []string{l.keys.meta}, nil, func(p redis.Pipeliner) { cmd = ask(p) })
		if err != nil {
			return result{}, err
		}
		s, err := parseState(reply)
		if err != nil {
			return result{}, err
		}
		raw, err := cmd.Result()
		return result{s, raw}, err
	})
	if err == nil {
		l.observe(r.state, asked)
	}
	return r.state, r.raw, err
}

// budget turns a limit of bytes into counts of elements, by the size of those
// seen so far, so that neither many small ones take many round trips nor a few large
// ones are read in vain.
type budget struct {
	left       int
	seen, size int // elements
	asked      int
}

func newBudget(bytes int) *budget { return &budget{left: bytes} }

func (b *budget) fits(n int) bool { return n <= b.left }

func (b *budget) take(n int) { b.left -= n }

// saw is told the size of an element.
func (b *budget) saw(size int) {
	b.seen++
	b.size += size
}

// count returns how many elements to ask for next. It grows step by step: the
// elements to come may be larger than those seen.
func (b *budget) count() int {
	n := 16
	if b.seen > 0 {
		n = max(b.left, 0)/max(1, b.size/b.seen) + 1
	}
	b.asked = max(1, min(n, max(16, 4*b.asked), maxCount))
	return b.asked
}
