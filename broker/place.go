package broker

import (
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// cursor is what a connection says of where it stopped.
type cursor struct {
	text  string             // Last-Event-ID as it came; empty: none
	pos   backplane.Position // of the text, if it is a position
	since time.Duration      // how far to go back; 0: not at all
}

func (c cursor) none() bool { return c.text == "" && c.pos.IsZero() && c.since == 0 }

func parseCursor(text string) cursor {
	c := cursor{text: text}
	c.pos, _ = backplane.ParsePosition(text)
	return c
}

// position returns where the node stands, for a connection that is about to be
// set up, and why that is impossible.
func (n *node) position() (pos backplane.Position, life int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed != nil:
		return pos, 0, n.closed
	case n.window == nil:
		return pos, 0, unavailable("connect", n.link)
	}
	return n.pos, n.life, nil
}

// reserve counts a connection towards the limits, until leave.
func (n *node) reserve(s *session) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed != nil {
		return n.closed
	}
	c := n.clients[s.client]
	switch {
	case n.limits.connections > 0 && n.reserved >= n.limits.connections,
		n.limits.perClient > 0 && c != nil && c.reserved >= n.limits.perClient:
		return ErrTooManyConnections
	}
	if c == nil {
		c = &localClient{facts: make(map[factKey]backplane.Fact)}
		n.clients[s.client] = c
	}
	c.reserved++
	n.reserved++
	s.reserved = true
	return nil
}

// join makes the session one of the node's: from here on the feed knows it.
// The topics are those named at connect; the facts were read after joinedAt
// was taken. What the log said of the client in between is applied here.
// An informed join is one that the register has answered.
func (n *node) join(s *session, topics []string, c cursor, informed bool, facts []backplane.Fact, greeting time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed != nil:
		return n.closed
	case s.life != n.life:
		return ErrNodeLapsed
	case s.joinedAt.Epoch != n.pos.Epoch || !n.window.covers(s.joinedAt):
		// A disconnect may have been missed: better a false one than a lost one.
		return unavailable("connect", errStaleJoin)
	}
	local := n.clients[s.client]
	n.learn(local, facts)
	kicked := local.disconnectedAfter(s.joinedAt)
	from := s.joinedAt.Seq
	if !informed {
		from = 0 // the window is all that this node has to go by
	}
	n.window.controlsOf(s.client, from, func(e *entry) {
		kicked = kicked || e.control.op == opDisconnect && e.pos.Seq > s.joinedAt.Seq
		n.apply(local, e)
	})
	if kicked {
		return ErrDisconnected
	}

	s.index = len(n.sessions)
	n.sessions = append(n.sessions, s)
	local.sessions = append(local.sessions, s)
	n.subscribe(s, key{kind: kindEveryone}, 0)
	n.subscribe(s, key{kindClient, s.client}, 0)
	n.subscribe(s, key{kindSession, s.id}, 0)
	s.named, s.informed = topics, informed
	for _, topic := range topics {
		n.subscribe(s, key{kindTopic, topic}, 0)
	}
	if n.subscribeJoined(s, local) {
		n.changed(s)
	}
	n.place(s, c, greeting)
	n.pokeClock() // something of it may be due sooner than the clock knows
	return nil
}

// subscribeJoined makes a session that is joining follow what its client was joined
// to, each from where it was. One whose join is just being made counts from the
// session's cursor on: it may have been heard of by the one before.
func (n *node) subscribeJoined(s *session, local *localClient) (added bool) {
	for k, f := range local.facts {
		if k.kind == backplane.FactMetadata {
			continue
		}
		s.note(f)
		if !isJoined(f) {
			continue
		}
		since := uint64(0)
		if at := membershipOf(f).since; at.Epoch == n.pos.Epoch {
			since = at.Seq
		}
		added = n.subscribe(s, key{kindTopic, k.name}, since) || added
	}
	return added
}

// learnLate takes over facts that came after the session had joined. If that
// reveals topics of which it has been passed by events, it can only be told so. What
// the client has left was before the session, or has been heard.
func (n *node) learnLate(s *session, facts []backplane.Fact) {
	n.mu.Lock()
	defer n.mu.Unlock()
	local := n.clients[s.client]
	if s.state == stateEnded || local == nil || len(s.subs) == 0 {
		return
	}
	n.learn(local, facts)
	s.informed = true
	for _, f := range local.facts {
		if f.Kind == backplane.FactTopic && !isJoined(f) {
			continue
		}
		if n.catchUp(s, f, n.pos) && n.window.hasBetween(s.subs[len(s.subs)-1], s.began, s.passed(n.pos.Seq)) {
			n.resetNow(s, ResetHistory)
		}
	}
}

// passed returns up to where the log has been gone through for the session.
func (s *session) passed(now uint64) uint64 {
	if s.state == stateLive {
		return now
	}
	return s.cursor.Seq
}

// place sets a session that has just joined to where it stopped.
func (n *node) place(s *session, c cursor, greeting time.Duration) {
	switch {
	case c.none():
		s.state, s.cursor = stateLive, n.pos
		s.began = n.pos.Seq
		s.setTaken(n.pos.Seq)
		_ = s.sendDirect(newGreetingFrame(n.pos, greeting))
		return
	case !c.pos.IsZero():
		s.cursor = c.pos
	case c.text != "":
		e := n.window.authors[c.text]
		if e == nil || e.ambiguous || !s.follows(e.event.to) {
			n.resetNow(s, ResetPosition)
			return
		}
		s.cursor = e.pos
	default: // since
		t := s.takenAt.Add(n.skew - c.since) // from when it came
		pos, complete := n.window.since(t)
		s.cursor, s.notBefore, s.placedAt = pos, t, n.pos.Seq
		if !complete {
			s.cursor, s.lenient = backplane.Position{Epoch: n.pos.Epoch}, true
		}
	}
	if c.text == "" {
		_ = s.sendDirect(newFarewellFrame(greeting)) // retry: alone
	}
	s.began = s.cursor.Seq
	n.settle(s)
}

// settle finds the state of a session by its cursor.
func (n *node) settle(s *session) {
	delete(n.waiting, s)
	delete(n.scanning, s)
	switch at := s.cursor; {
	case at.Epoch != n.pos.Epoch:
		s.state = stateForeign
		n.waiting[s] = struct{}{}
		n.askBus()
	case n.window.contradicts(at):
		n.resetNow(s, ResetHistory)
	case at.Seq > n.pos.Seq:
		s.state = stateAhead
		n.waiting[s] = struct{}{}
		if !s.asked {
			n.askBus()
		}
	case n.window.covers(at):
		s.state = stateBehind
		s.setTaken(at.Seq)
		n.refillLocked(s)
	default:
		s.setTaken(at.Seq)
		n.startScan(s)
	}
}

// recheckWaiting lets go on who was ahead of this node and no longer is.
func (n *node) recheckWaiting() {
	for s := range n.waiting {
		if s.state == stateAhead && s.cursor.Epoch == n.pos.Epoch && s.cursor.Seq <= n.pos.Seq {
			n.settle(s)
		}
	}
}

// resetNow tells one session that its position is of no use, and lets it go on
// from where the node is.
func (n *node) resetNow(s *session, reason ResetReason) {
	n.resetAtPosition(s, n.pos, reason)
}

func (n *node) resetAtPosition(s *session, pos backplane.Position, reason ResetReason) {
	delete(n.waiting, s)
	delete(n.scanning, s)
	n.counters.resets.Add(1)
	s.startOver(newResetFrame(n.resetEvent, pos, reason))
	s.placedAt, s.lenient = 0, false
	s.cursor = pos
	s.began = pos.Seq
	s.state = stateBehind
	if pos == n.pos {
		s.state = stateLive
		return
	}
	n.settle(s)
}

// leave takes the session out of the node. It may never have joined.
func (n *node) leave(s *session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.state != stateEnded && s.subs != nil {
		n.unsubscribeAll(s)
		last := len(n.sessions) - 1
		moved := n.sessions[last]
		n.sessions[s.index], moved.index = moved, s.index
		n.sessions[last] = nil
		n.sessions = n.sessions[:last]
		delete(n.waiting, s)
		delete(n.scanning, s)
	}
	s.state = stateEnded
	c := n.clients[s.client]
	if c == nil || !s.reserved {
		return
	}
	s.reserved = false
	n.reserved--
	if n.reserved == 0 && n.empty != nil {
		close2(n.empty)
	}
	c.remove(s)
	if c.reserved--; c.reserved == 0 {
		delete(n.clients, s.client)
	}
}
