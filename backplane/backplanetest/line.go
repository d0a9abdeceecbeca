package backplanetest

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// Outage says what becomes of calls on a line that is cut.
type Outage int

const (
	// Hang: a call waits until the line is healed, and then goes on, or until its
	// context ends. So does a reply that was under way. That is a network that
	// swallows packets, or a server that was paused.
	Hang Outage = iota
	// Refuse: a call fails at once with [ErrCut], also one that waits for its reply:
	// whether it took effect cannot be known. That is a server that was killed.
	Refuse
)

// When says at which point a call is made to fail.
type When int

const (
	// Before: the call has no effect.
	Before When = iota
	// After: the call takes effect and the reply is lost. Of Sessions a part of
	// them comes before the error.
	After
)

// Op is a method of [backplane.Backplane] or [backplane.Log], by its name.
type Op string

// The methods on which faults act.
const (
	Open     Op = "Open"
	Publish  Op = "Publish"
	Read     Op = "Read"
	Tail     Op = "Tail"
	Bounds   Op = "Bounds"
	NewEpoch Op = "NewEpoch"
	Renew    Op = "Renew"
	Release  Op = "Release"
	Update   Op = "Update"
	Collect  Op = "Collect"
	Settle   Op = "Settle"
	Sessions Op = "Sessions"
	Presence Op = "Presence"
	Put      Op = "Put"
	Facts    Op = "Facts"
)

// maxLate is how late a page may be: within 2 seconds a follower has to hear of a
// new epoch.
const maxLate = 1900 * time.Millisecond

// Line is how one node reaches the bus: a backplane of its own. What its methods
// set holds for all logs opened from it, before and after.
type Line struct {
	bus  backplane.Backplane
	name string
	seed uint64

	mu    sync.Mutex // guards what follows
	state lineState
	// changed is closed and replaced when the line is cut, frozen or healed.
	changed chan struct{}
	delay   span
	late    span
	split   int
	rate    [2]float64          // by When
	fail    map[Op]map[When]int // how many calls are still to fail
	calls   map[Op]uint64       // how many there were
}

// lineState is what passes over a line at a time.
type lineState struct {
	cut    bool
	how    Outage
	frozen bool
	// cuts counts how often the line was cut, so that a call can tell whether it was
	// meanwhile.
	cuts int
}

// span is a time drawn from least to most.
type span struct{ least, most time.Duration }

var _ backplane.Backplane = (*Line)(nil)

func newLine(bus backplane.Backplane, name string, seed uint64) *Line {
	return &Line{
		bus: bus, name: name, seed: seed,
		changed: make(chan struct{}),
		fail:    make(map[Op]map[When]int),
		calls:   make(map[Op]uint64),
	}
}

// Open implements [backplane.Backplane].
func (l *Line) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	var log backplane.Log
	err := l.call(ctx, nil, Open, func() (err error) {
		log, err = l.bus.Open(ctx, cfg)
		return err
	})
	if err != nil {
		if log != nil {
			_ = log.Close(context.WithoutCancel(ctx)) // opened, but nobody heard of it
		}
		return nil, err
	}
	return newLineLog(l, log), nil
}

// Cut cuts the line until [Line.Heal]: calls hang or fail, and Follow delivers
// nothing and says so to Follower.Link after less than 2 seconds.
func (l *Line) Cut(how Outage) {
	l.change(func(s *lineState) { s.cut, s.how, s.cuts = true, how, s.cuts+1 })
}

// Freeze makes the server that the line reads from a stale one, until
// [Line.Heal]: Follow delivers nothing and tells Link so, Read and Tail do not
// go beyond what Follow had delivered, all other calls work.
func (l *Line) Freeze() { l.change(func(s *lineState) { s.frozen = true }) }

// Heal ends what Cut and Freeze began. Follow goes on from where it was, or
// returns why it cannot.
func (l *Line) Heal() { l.change(func(s *lineState) { s.cut, s.frozen = false, false }) }

// Delay makes each call take a time on the way to the bus, and another on the
// way back, each drawn from least to most.
func (l *Line) Delay(least, most time.Duration) {
	l.set(func() { l.delay = span{least, most} })
}

// Late makes each page that Follow delivers wait for a time drawn from least to most:
// the node is behind the others. The contract allows less than 2 seconds; more
// becomes 1.9. For a node that is further behind there are [Line.Freeze] and
// [Line.Cut].
func (l *Line) Late(least, most time.Duration) {
	l.set(func() { l.late = span{min(least, maxLate), min(most, maxLate)} })
}

// Split makes Follow deliver pages of 1 to n entries, drawn for each; 0 leaves
// them as they are.
func (l *Line) Split(n int) { l.set(func() { l.split = n }) }

// Fail makes the next n calls of op fail with [ErrInjected].
func (l *Line) Fail(op Op, when When, n int) {
	l.set(func() {
		if l.fail[op] == nil {
			l.fail[op] = make(map[When]int)
		}
		l.fail[op][when] += n
	})
}

// FailRate makes calls of all methods fail with [ErrInjected] with probability p,
// independently before and after they take effect.
func (l *Line) FailRate(when When, p float64) { l.set(func() { l.rate[when] = p }) }

// Calm heals the line and takes back everything that was set.
func (l *Line) Calm() {
	l.set(func() {
		l.delay, l.late, l.split, l.rate = span{}, span{}, 0, [2]float64{}
		clear(l.fail)
	})
	l.Heal()
}

func (l *Line) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *Line) change(f func(*lineState)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.state)
	close(l.changed)
	l.changed = make(chan struct{})
}

// now returns the state of the line, and a channel that is closed when it changes.
func (l *Line) now() (lineState, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state, l.changed
}

// lot is what is drawn for one call.
type lot struct {
	there, back time.Duration
	fails       [2]bool // by When
}

// draw draws the lot of the next call of op.
func (l *Line) draw(op Op) lot {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.random(op)
	d := lot{there: l.delay.draw(r), back: l.delay.draw(r)}
	for when := range d.fails {
		d.fails[when] = r.Float64() < l.rate[when]
		if l.fail[op][When(when)] > 0 && !d.fails[Before] {
			l.fail[op][When(when)]--
			d.fails[when] = true
		}
	}
	return d
}

// drawPage draws how late the next page is, and the numbers that split it.
func (l *Line) drawPage() (late time.Duration, pieces func(entries int) int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, split := l.random("Page"), l.split
	return l.late.draw(r), func(entries int) int {
		if split <= 0 {
			return entries
		}
		return min(entries, 1+r.IntN(split))
	}
}

// drawNotice draws after what time a follower learns that it is cut off.
func (l *Line) drawNotice() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return span{100 * time.Millisecond, maxLate}.draw(l.random("Link"))
}

// random returns the source of what is drawn for the next call of op. It is one of
// its own for each call, so that what other goroutines do changes nothing. The
// caller holds l.mu.
func (l *Line) random(op Op) *rand.Rand {
	l.calls[op]++
	h := fnv.New64a()
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], l.calls[op])
	h.Write(b[:])
	h.Write([]byte(op))
	h.Write([]byte{0})
	h.Write([]byte(l.name))
	return rand.New(rand.NewPCG(l.seed, h.Sum64()))
}

func (s span) draw(r *rand.Rand) time.Duration {
	if s.most <= s.least {
		return s.least
	}
	return s.least + time.Duration(r.Int64N(int64(s.most-s.least)+1))
}
