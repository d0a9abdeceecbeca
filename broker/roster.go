package broker

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/sseplane/sseplane/backplane"
)

// roster keeps the register in step with this node's sessions. Changes are
// queued and written in batches, one at a time; what the bus refuses is written
// again, so the register follows the truth as soon as the bus answers.
type roster struct {
	log       backplane.Log
	logger    *slog.Logger
	callbacks *callbacks
	lapsed    func(nodeID string) // others have taken this node for dead
	late      func(s *session, facts []backplane.Fact, absent Position)
	known     func() []backplane.Fact // what this node knows of its clients
	renewals  func(ours, theirs []backplane.Fact) []backplane.Fact
	batch     int // the most that is written at once
	signal    chan struct{}

	mu      sync.Mutex // guards the rest
	nodeID  string
	leased  bool                  // the node has, or had, its first lease
	entries map[*session]*listing // of this incarnation of the node
	adds    []*listing
	ends    []*listing
	debts   []debt           // to settle
	facts   []backplane.Fact // to put
	owed    map[string]int   // debts not settled yet, by id
	paid    generations      // sessions whose callback has returned: their debt may come back
	closed  bool             // no more is to come
	idle    []chan struct{}  // closed when nothing is left to write
}

// listing is a session's place in the register.
type listing struct {
	owner   *session
	session backplane.Session
	state   listingState
	dirty   bool // its record has changed since it was last taken
	queued  bool // in adds or ends
	leave   bool // the session has ended
	waiter  chan struct{}
	facts   []backplane.Fact // of its client, once registered
	absent  Position         // the client had been absent until then; zero: it had not
	late    bool             // the session has not waited for this
}

type listingState uint8

const (
	listingNew  listingState = iota // the register may or may not have it
	listingLive                     // the register has it
	listingGone                     // it is a debt, or never was registered
)

func newRoster(log backplane.Log, nodeID string, cfg *config, c *callbacks) *roster {
	return &roster{
		log: log, logger: cfg.logger, callbacks: c, nodeID: nodeID, batch: cfg.rosterBatch,
		signal:  make(chan struct{}, 1),
		entries: make(map[*session]*listing),
		owed:    make(map[string]int),
		paid:    newGenerations(maxPaid),
	}
}

// add registers a session. The channel is closed when that is done.
func (r *roster) add(s *session, name string, topics []string) *listing {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := &listing{
		owner:   s,
		session: backplane.Session{ID: s.id, Client: s.client, Node: r.nodeID, NodeName: name, Topics: topics},
		dirty:   true, queued: true,
		waiter: make(chan struct{}),
	}
	r.entries[s] = l
	r.adds = append(r.adds, l)
	signalFunc(r.signal)()
	return l
}

// update writes the record of a session anew, because its topics have changed.
func (r *roster) update(s *session, topics []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.entries[s]
	if l == nil || l.leave {
		return
	}
	l.session.Topics = topics
	l.dirty = true
	if !l.queued {
		l.queued = true
		r.adds = append(r.adds, l)
	}
	signalFunc(r.signal)()
}

// relist writes all that this node knows anew, because the bus may have lost it.
func (r *roster) relist() {
	r.put(r.known())
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.entries {
		l.dirty = true
		if !l.queued {
			l.queued = true
			r.adds = append(r.adds, l)
		}
	}
	signalFunc(r.signal)()
}

// end takes a session off the register: the disconnect callback follows.
func (r *roster) end(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.entries[s]
	if l == nil {
		return
	}
	delete(r.entries, s)
	l.leave = true
	close2(l.waiter)
	if !l.queued {
		l.queued = true
		r.ends = append(r.ends, l)
		signalFunc(r.signal)()
	}
}

// newLife gives the node another id, under which nothing is registered yet, if its
// id is still the old one. What was registered or owed under that is other nodes' now.
func (r *roster) newLife(oldID, newID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nodeID != oldID {
		return false
	}
	r.nodeID, r.leased = newID, false
	unanswered := slices.DeleteFunc(append(r.adds, r.ends...), func(l *listing) bool { return l.state != listingNew })
	r.adds, r.ends = nil, nil
	for _, l := range r.entries {
		if l.state == listingNew {
			unanswered = append(unanswered, l)
		}
		l.leave = true
		if l.state == listingLive {
			l.state = listingGone
		}
	}
	clear(r.entries)
	for _, l := range unanswered {
		r.takeAlong(l)
	}
	r.disownLocked(oldID)
	return true
}

// takeAlong makes sure that a session which has ended, and of which the register has
// never said that it knew it, is reported: it is listed and ended under the present
// id. Should the register have known it after all, it has been collected from the old
// id and reported by whoever did that; then this changes nothing.
func (r *roster) takeAlong(l *listing) {
	if l.session.Node == r.nodeID {
		return
	}
	l.session.Node = r.nodeID
	l.leave = true
	if !l.late && isOpen(l.waiter) { // its stream has not begun, and will not
		l.state = listingGone
		close2(l.waiter)
		return
	}
	close2(l.waiter)
	l.queued = true
	r.ends = append(r.ends, l)
	signalFunc(r.signal)()
}

func isOpen(c chan struct{}) bool {
	select {
	case <-c:
		return false
	default:
		return true
	}
}

// close2 closes a channel that may be closed. Its callers hold the lock.
func close2(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// await waits until the register has answered for the sessions, as far as they live.
func (r *roster) await(ctx context.Context, sessions []*session) error {
	for _, s := range sessions {
		r.mu.Lock()
		l := r.entries[s]
		r.mu.Unlock()
		if l == nil {
			continue
		}
		select {
		case <-l.waiter:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// registered returns what the register has answered for the listing. If it has
// not yet, the answer goes to r.late.
func (r *roster) registered(l *listing) (answered bool, facts []backplane.Fact, absent Position, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.state == listingGone || l.leave {
		return false, nil, Position{}, ErrNodeLapsed
	}
	l.late = l.state == listingNew
	return !l.late, l.facts, l.absent, nil
}

func (r *roster) put(facts []backplane.Fact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts = append(r.facts, facts...)
	signalFunc(r.signal)()
}

// close lets run return when all is written.
func (r *roster) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	signalFunc(r.signal)()
}
