package broker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
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

// defaultRosterBatch bounds one batch of the register.
const defaultRosterBatch = 500

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

// disown forgets the debts under an id that others pay now.
func (r *roster) disown(owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.disownLocked(owner)
}

func (r *roster) disownLocked(owner string) {
	r.callbacks.forgetDebts(owner)
	r.debts = slices.DeleteFunc(r.debts, func(d debt) bool { return d.owner == owner })
	delete(r.owed, owner)
}

// owes reports whether this node has unsettled debts under the id.
func (r *roster) owes(owner string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.owed[owner] > 0
}

// oweLocked queues the callbacks for debts.
func (r *roster) oweLocked(owner string, debts []backplane.Debt) {
	r.owed[owner] += len(debts)
	for _, d := range debts {
		if r.paid.has(d.Session.ID) && d.Kind == backplane.SessionEnded {
			r.debts = append(r.debts, debt{Debt: d, owner: owner}) // it is back: the bus has not settled it, or has lost that
			continue
		}
		r.callbacks.pay(debt{Debt: d, owner: owner})
	}
}

// settleAll strikes debts off, whoever's of this node's ids they are.
func (r *roster) settleAll(ctx context.Context, debts []debt) error {
	byOwner := make(map[string][]backplane.Debt)
	for _, d := range debts {
		byOwner[d.owner] = append(byOwner[d.owner], d.Debt)
	}
	for owner, list := range byOwner {
		if err := r.log.Settle(ctx, owner, list); err != nil {
			return err // to settle some of them again does no harm
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for owner, list := range byOwner {
		if r.owed[owner] -= len(list); r.owed[owner] <= 0 {
			delete(r.owed, owner)
		}
	}
	return nil
}

// settleRest strikes off what run has been kept from settling, so that nobody else pays it again.
// It is called when run has returned.
func (r *roster) settleRest(ctx context.Context) {
	r.mu.Lock()
	debts := r.debts
	r.debts = nil
	r.mu.Unlock()
	if err := r.settleAll(ctx, debts); err != nil {
		r.logger.Warn("sseplane: settling callbacks failed; others may repeat them", "error", err)
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

func (r *roster) settle(d debt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.debts = append(r.debts, d)
	r.paid.add(d.Session.ID)
	signalFunc(r.signal)()
}

// maxPaid bounds what is remembered of callbacks that have run.
const maxPaid = 50_000

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

// work is one batch.
type work struct {
	nodeID     string
	adds, ends []*listing
	sessions   []backplane.Session // of adds and ends, as they were when taken
	debts      []debt
	facts      []backplane.Fact
}

func (w *work) empty() bool {
	return len(w.adds)+len(w.ends)+len(w.debts)+len(w.facts) == 0
}

// next takes the next batch. There is none before the node has a lease.
func (r *roster) next() (w work, closed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.leased {
		return work{}, r.closed
	}
	w.nodeID = r.nodeID
	w.adds, r.adds = takeUpTo(r.adds, r.batch)
	w.ends, r.ends = takeUpTo(r.ends, r.batch)
	w.debts, r.debts = takeUpTo(r.debts, r.batch)
	w.facts, r.facts = takeUpTo(r.facts, r.batch)
	for _, l := range w.adds {
		l.dirty = false
		w.sessions = append(w.sessions, l.session)
	}
	for _, l := range w.ends { // should the bus have lost it, it is still owed
		w.sessions = append(w.sessions, l.session)
	}
	return w, r.closed
}

func takeUpTo[T any](list []T, n int) (taken, rest []T) {
	if len(list) <= n {
		return list, nil
	}
	return list[:n:n], list[n:]
}

// run writes batches until the roster is closed and all is written, or ctx ends.
func (r *roster) run(ctx context.Context) {
	for attempt := 0; ; {
		w, closed := r.next()
		if w.empty() {
			if r.finished() && closed {
				return
			}
			select {
			case <-r.signal:
			case <-ctx.Done():
				return
			}
			continue
		}
		err := bounded(ctx, func(ctx context.Context) error { return r.write(ctx, &w) })
		if err == nil {
			attempt = 0
			continue
		}
		if errors.Is(err, backplane.ErrSwept) {
			r.lapsed(w.nodeID)
		}
		r.putBack(w)
		if ctx.Err() != nil || errors.Is(err, backplane.ErrClosed) {
			return
		}
		if errors.Is(err, backplane.ErrSwept) {
			continue
		}
		if attempt == 0 {
			r.logger.Warn("sseplane: writing the register failed, trying again", "error", err)
		}
		sleep(ctx, backoff(attempt))
		attempt++
	}
}

// finished reports whether nothing is left to write, and tells those who wait for it.
// It is called between batches.
func (r *roster) finished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.adds)+len(r.ends)+len(r.debts)+len(r.facts) > 0 {
		return false
	}
	for _, c := range r.idle {
		close(c)
	}
	r.idle = nil
	return true
}

// flush waits until everything queued so far has been written, or ctx ends.
func (r *roster) flush(ctx context.Context) {
	idle := make(chan struct{})
	r.mu.Lock()
	r.idle = append(r.idle, idle)
	signalFunc(r.signal)()
	r.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// write writes one batch, tells those concerned, and takes out of the batch what
// has been written.
func (r *roster) write(ctx context.Context, w *work) error {
	if len(w.facts) > 0 {
		if err := r.putFacts(ctx, w.facts); err != nil {
			return err
		}
		w.facts = nil
	}
	if len(w.debts) > 0 {
		if err := r.settleAll(ctx, w.debts); err != nil {
			return err
		}
		w.debts = nil
	}
	if len(w.adds)+len(w.ends) == 0 {
		return nil
	}
	ends := make([]string, len(w.ends))
	for i, l := range w.ends {
		ends[i] = l.session.ID
	}
	result, err := r.log.Update(ctx, w.nodeID, w.sessions, ends)
	if err != nil {
		return err
	}
	for _, l := range r.registeredBatch(*w, result) {
		r.late(l.owner, l.facts, l.absent)
	}
	return nil
}

// putFacts writes facts that have been waiting, perhaps for long: what the register
// has by now may be newer.
func (r *roster) putFacts(ctx context.Context, facts []backplane.Fact) error {
	var clients []string
	for _, f := range facts {
		clients = append(clients, f.Client)
	}
	slices.Sort(clients)
	registered, err := r.log.Facts(ctx, slices.Compact(clients)...)
	if err != nil {
		return err
	}
	return r.log.Put(ctx, r.renewals(facts, registered))
}

// registeredBatch takes over the result of a batch, and returns the listings that
// nobody has waited for.
func (r *roster) registeredBatch(w work, result backplane.UpdateResult) (late []*listing) {
	absent := w.absentUntil(result.Joined)
	joined := make(map[string]bool, len(result.Joined)) // and not announced yet
	for _, client := range result.Joined {
		joined[client] = true
	}
	facts := make(map[string][]backplane.Fact)
	for _, f := range result.Facts {
		facts[f.Client] = append(facts[f.Client], f)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nodeID != w.nodeID {
		return nil // another life has begun meanwhile
	}
	for _, l := range w.adds {
		client := l.session.Client
		l.queued = false
		if l.state == listingNew {
			l.state = listingLive
			l.absent = absent[client]
			l.facts = facts[client]
			close2(l.waiter)
			if l.late && !l.leave {
				late = append(late, l)
			}
			r.callbacks.sessionJoined(client, l.session.ID)
			if joined[client] {
				joined[client] = false // one of its sessions was the first
				r.callbacks.clientJoined(client)
			}
		}
		switch {
		case l.leave:
			l.queued = true
			r.ends = append(r.ends, l)
		case l.dirty:
			l.queued = true
			r.adds = append(r.adds, l)
		}
	}
	for _, l := range w.ends {
		if l.state == listingNew {
			r.callbacks.sessionJoined(l.session.Client, l.session.ID)
		}
		l.state = listingGone
	}
	r.oweLocked(w.nodeID, result.Ended)
	return late
}

// absentUntil returns until when the clients had been absent: where the first of their
// sessions came to this node. An earlier attempt may have listed that, and its reply was lost.
func (w *work) absentUntil(joined []string) map[string]Position {
	until := make(map[string]Position, len(joined))
	for _, client := range joined {
		until[client] = Position{}
	}
	listed := make(map[string]bool)
	for _, l := range append(slices.Clone(w.adds), w.ends...) {
		client, at := l.session.Client, l.owner.joinedAt
		first, ok := until[client]
		switch {
		case !ok:
		case l.state != listingNew:
			listed[client] = true // it was there already, and is named again
		case first.IsZero() || at.Epoch == first.Epoch && at.Seq < first.Seq:
			until[client] = at
		}
	}
	maps.DeleteFunc(until, func(client string, _ Position) bool { return listed[client] })
	return until
}

// putBack returns a batch to the front of the queue.
func (r *roster) putBack(w work) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts = append(w.facts, r.facts...)
	for _, d := range w.debts {
		if r.owed[d.owner] > 0 {
			r.debts = append(r.debts, d)
		}
	}
	if w.nodeID == r.nodeID {
		r.adds = append(w.adds, r.adds...)
		r.ends = append(w.ends, r.ends...)
		return
	}
	for _, l := range append(w.adds, w.ends...) {
		if l.state == listingNew && l.leave {
			r.takeAlong(l)
		}
	}
}
