package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// node is what this replica knows of the log, and the sessions that it serves
// from it. It does no I/O: the follower hands it pages, sessions are joined
// to it, sockets take from it. Its lock is held for memory only.
type node struct {
	logger                  *slog.Logger
	counters                *counters
	resetEvent              string
	windowSize              int
	limits                  limits
	queueFrames, queueBytes int // of a session's queue

	reached chan struct{} // closed when the node has first reached the bus

	mu           sync.Mutex
	pos          backplane.Position // everything up to here has been handed out; == window.upto
	window       *window
	epochs       []string        // that the node has been in, or older ones, the newest last
	ahead        map[string]bool // epochs that the node is yet to come to
	link         error           // why the node does not follow; nil if it does
	topics       map[key]*topic
	clients      map[string]*localClient
	sessions     []*session
	reserved     int
	life         int // counts how often others have taken the node for dead
	stamp        uint64
	skew         time.Duration // bus time minus ours
	skewAt       time.Time     // when that was found
	heard        time.Time     // when a page last came
	waiting      map[*session]struct{}
	scanning     map[*session]bool // whether its queue is empty
	closed       error             // why no session may join any more
	empty        chan struct{}     // closed when closed is set and no session is left
	scratch      []*frame
	incompatible error // why the node can never go on

	// What the node asks of those who do I/O for it. None of them blocks.
	askBus    func() // there are sessions in waiting
	scanMore  func() // there are sessions ready in scanning
	pokeClock func()
	changed   func(*session) // its topics have changed

}

type limits struct {
	connections, perClient int
}

// localClient is a client with sessions on this node, and this node's copy of
// what the cluster remembers of it.
type localClient struct {
	sessions []*session
	reserved int
	facts    map[factKey]backplane.Fact
}

type factKey struct {
	kind backplane.FactKind
	name string
}

var (
	errNotReached  = errors.New("the bus has not been reached yet")
	errNotFollowed = errors.New("the log is not followed yet")
	errStaleJoin   = errors.New("the log went on too far while the connection was being set up")
)

func newNode(cfg *config, c *counters) *node {
	return &node{
		logger:      cfg.logger,
		counters:    c,
		resetEvent:  cfg.resetEvent,
		windowSize:  cfg.windowBytes,
		queueFrames: cfg.queueFrames, queueBytes: cfg.queueBytes,
		limits:   cfg.limits,
		reached:  make(chan struct{}),
		link:     errNotReached,
		topics:   make(map[key]*topic),
		clients:  make(map[string]*localClient),
		waiting:  make(map[*session]struct{}),
		scanning: make(map[*session]bool),
		ahead:    make(map[string]bool),
		askBus:   func() {}, scanMore: func() {}, pokeClock: func() {}, changed: func(*session) {},
	}
}

// begin gives the node its first view of the log.
func (n *node) begin(tail backplane.Page) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.window = newWindow(tail.After)
	n.pos = tail.After
	n.epochs = []string{tail.After.Epoch}
	n.setClock(tail.Now)
	n.heard = time.Now()
	for _, in := range tail.Entries {
		if n.append(in, false) != nil {
			break
		}
	}
	if n.incompatible == nil {
		n.moveTo(tail.Upto)
		n.link = errNotFollowed
	}
	n.window.trim(n.windowSize)
	close(n.reached)
}

// take takes the next page of the log.
func (n *node) take(p backplane.Page) error {
	n.mu.Lock()
	if p.After.Epoch != n.pos.Epoch || p.After.Seq != n.pos.Seq {
		defer n.mu.Unlock()
		// The backplane's promise; without it nothing here is true.
		return fmt.Errorf("broker: page after %v does not continue the log at %v", p.After, n.pos)
	}
	n.setClock(p.Now)
	n.heard = time.Now()
	n.mu.Unlock()
	for _, in := range p.Entries {
		n.mu.Lock() // for each entry, so that sockets get their turn
		err := n.append(in, true)
		n.mu.Unlock()
		if err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.moveTo(p.Upto)
	n.window.trim(n.windowSize)
	return nil
}

// setLink notes whether the node is in touch with the bus.
func (n *node) setLink(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.incompatible == nil {
		n.link = err
	}
}

// whileStarting returns the cause for which somebody has stopped waiting for the bus,
// together with what is wrong with that, if it has said so.
func (n *node) whileStarting(cause error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.link == nil || n.link == errNotReached || n.link == errNotFollowed {
		return cause
	}
	return fmt.Errorf("%w; last: %w", cause, n.link)
}

// append takes one entry into the window and, if it is new, to the sessions.
func (n *node) append(in backplane.Entry, isNew bool) error {
	e, err := decodeEntry(in)
	switch {
	case errors.Is(err, ErrIncompatible):
		n.incompatible, n.link = err, err
		return err
	case err != nil:
		if n.counters.malformed.Add(1)%1000 == 1 {
			n.logger.Warn("sseplane: skipped a foreign or malformed entry", "position", in.Position)
		}
	}
	e.prev = n.pos.Seq
	n.pos = e.pos
	n.window.add(e.kept())
	if isNew {
		n.counters.entries.Add(1)
		switch {
		case e.control != nil:
			n.applyControl(e)
		case e.event != nil && !(e.event.ephemeral && n.age(e) > ephemeralAge):
			n.deliver(e)
		}
		n.window.trim(n.windowSize)
		n.recheckWaiting()
	}
	return nil
}

// ephemeralAge is how old an ephemeral event may be when it is delivered.
const ephemeralAge = 10 * time.Second

func (n *node) age(e *entry) time.Duration {
	if e.time.IsZero() {
		return 0
	}
	return n.busNow().Sub(e.time)
}

// busNow is the time of the bus. The lock is held.
func (n *node) busNow() time.Time { return time.Now().Add(n.skew) }

// setClock compares the bus's clock with ours. What the bus says may have been under way
// for long, so that of some time the answer counts by which it is the least behind.
func (n *node) setClock(now time.Time) {
	if now.IsZero() {
		return
	}
	if skew := time.Until(now); skew >= n.skew || time.Since(n.skewAt) > skewAge {
		n.skew, n.skewAt = skew, time.Now()
	}
}

const skewAge = time.Minute

// moveTo advances the position over marks of the bus.
func (n *node) moveTo(upto backplane.Position) {
	n.window.advance(upto)
	n.pos = upto
	n.recheckWaiting()
}

// deliver puts an event into the queues of the sessions that are caught up.
func (n *node) deliver(e *entry) {
	if e.event.to.kind == kindEveryone {
		n.deliverTo(e, n.sessions)
		return
	}
	n.stamp++
	for _, name := range e.event.to.names {
		if t := n.topics[key{e.event.to.kind, name}]; t != nil {
			n.deliverTo(e, t.sessions)
		}
	}
}

func (n *node) deliverTo(e *entry, sessions []*session) {
	several := len(e.event.to.names) > 1
	delivered := uint64(0)
	for _, s := range sessions {
		if s.state != stateLive || !s.gets(e) {
			continue
		}
		if several {
			if s.stamp == n.stamp {
				continue
			}
			s.stamp = n.stamp
		}
		if ok, from := s.offer(e.frame()); !ok {
			s.state = stateBehind
			s.cursor = backplane.Position{Epoch: n.pos.Epoch, Seq: from}
			n.counters.fallenBehind.Add(1)
		}
		delivered++
	}
	n.counters.delivered.Add(delivered)
}

// refill gives a session that is catching up its next frames, and reports
// whether there were any.
func (n *node) refill(s *session) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.refillLocked(s)
}

func (n *node) refillLocked(s *session) bool {
	switch s.state {
	case stateBehind:
		if !n.window.covers(s.cursor) {
			n.startScan(s)
			return false
		}
		s.lenient = false // from here on it is in step with the log
		frames, cursor, caughtUp := n.window.collect(s, s.cursor.Seq, n.scratch[:0], max(1, n.queueFrames/2), n.queueBytes/2)
		s.cursor = backplane.Position{Epoch: n.pos.Epoch, Seq: cursor}
		if caughtUp {
			s.state = stateLive
		}
		s.fill(frames, !caughtUp)
		n.counters.replayed.Add(uint64(len(frames)))
		any := len(frames) > 0
		clear(frames)
		n.scratch = frames
		return any
	case stateScan:
		if n.window.covers(s.cursor) {
			n.settle(s)
			return true
		}
		n.scanning[s] = true
		n.scanMore()
	}
	return false
}

// startScan hands a session over to the scan, which reads the log on the bus.
func (n *node) startScan(s *session) {
	s.state = stateScan
	n.scanning[s] = true
	n.scanMore()
}
