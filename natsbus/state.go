package natsbus

import (
	"maps"
	"slices"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// state is the register, as the commands up to some sequence have made it. Its
// time is the time at which the server stored the newest of them.
//
// Whatever it iterates, it iterates in an order that is the same on all nodes.
type state struct {
	now   time.Time
	grace time.Duration
	keep  time.Duration

	nodes map[string]*nodeState
	swept map[string]time.Time // the nodes that may never come back, and since when

	clients map[string]*clientState
	leaving *queue[string, *clientState] // clients that are in without a session, in the order in which their last one ended
	ended   *queue[string, endedState]   // sessions that ended, in that order, so that none is added again
	facts   factStore
}

// sweptFor is for how long a swept node is remembered. One that comes back later has
// at least no session left that anybody would believe it.
const sweptFor = 14 * 24 * time.Hour

// nodeState is what a node has. It holds a lease until the time lease.
type nodeState struct {
	id    string
	lease time.Time
	live  *queue[string, *sessionState] // by session
	owed  *queue[debtKey, owedState]
}

// owedState is a debt, and the command by which its node collected it.
type owedState struct {
	debt backplane.Debt
	by   string
}

// clientState is a client with a session, or one that is in or whose leaving is
// owed.
type clientState struct {
	name     string
	sessions []*sessionState
	in       bool // it joined, and its leaving has not been collected
	owed     bool // a node owes its ClientLeft
	ended    time.Time
}

type sessionState struct {
	backplane.Session
	client *clientState
	first  bool // the client was absent before it
}

type endedState struct {
	at    time.Time
	first bool
}

func newState() *state {
	return &state{
		nodes:   make(map[string]*nodeState),
		swept:   make(map[string]time.Time),
		clients: make(map[string]*clientState),
		leaving: newQueue[string, *clientState](),
		ended:   newQueue[string, endedState](),
		facts:   newFactStore(),
	}
}

// result is what became of a command.
type result struct {
	err    error
	update backplane.UpdateResult
	debts  []backplane.Debt
}

// apply does what a command says; at is when the server stored it.
func (s *state) apply(c *command, at time.Time) (r result) {
	if at.After(s.now) { // a new leader's clock may be behind
		s.now = at
	}
	s.grace, s.keep = c.Grace, c.Keep
	switch c.Op {
	case opRenew:
		if s.isSwept(c.Node) {
			return result{err: backplane.ErrSwept}
		}
		s.node(c.Node).lease = s.now.Add(c.TTL)
	case opRelease:
		if n := s.nodes[c.Node]; n != nil {
			n.lease = time.Time{}
			if n.empty() {
				delete(s.nodes, c.Node)
			}
		}
	case opUpdate:
		return s.update(c)
	case opCollect:
		return s.collect(c)
	case opSettle:
		s.settle(c)
	case opPut:
		for i := range c.Facts {
			s.facts.put(&c.Facts[i], c.Epoch, s.now)
		}
	}
	return result{}
}

func (s *state) isSwept(node string) bool {
	_, ok := s.swept[node]
	return ok
}

func (s *state) node(id string) *nodeState {
	n := s.nodes[id]
	if n == nil {
		n = &nodeState{id: id, live: newQueue[string, *sessionState](), owed: newQueue[debtKey, owedState]()}
		s.nodes[id] = n
	}
	return n
}

func (n *nodeState) holds(now time.Time) bool { return n.lease.After(now) }
func (n *nodeState) empty() bool              { return n.live.len() == 0 && n.owed.len() == 0 }

func (s *state) client(name string) *clientState {
	c := s.clients[name]
	if c == nil {
		c = &clientState{name: name}
		s.clients[name] = c
	}
	return c
}

// tidy forgets a client of whom nothing is left to know.
func (s *state) tidy(c *clientState) {
	if len(c.sessions) == 0 && !c.in && !c.owed {
		delete(s.clients, c.name)
	}
}

func (s *state) update(c *command) (r result) {
	if s.isSwept(c.Node) {
		return result{err: backplane.ErrSwept}
	}
	s.forgetEnded()
	// Adding comes first, so that a session that is in both lists ends.
	n := s.node(c.Node)
	joined := make(map[string]bool, len(c.Add))
	for i := range c.Add {
		add := c.Add[i].session(c.Node)
		joined[add.Client] = s.add(n, add) || joined[add.Client]
	}
	asked := make(map[string]struct{}, len(c.End))
	for _, id := range c.End {
		if _, again := asked[id]; again {
			continue
		}
		asked[id] = struct{}{}
		if live, ok := n.live.get(id); ok {
			d := s.take(n, live)
			n.owed.put(keyOf(d), owedState{debt: d})
		}
		if o, ok := n.owed.get(debtKey{backplane.SessionEnded, id}); ok {
			r.update.Ended = append(r.update.Ended, o.debt)
		}
	}
	for i := range c.Add {
		name := c.Add[i].Client
		isFirst, ok := joined[name]
		if !ok {
			continue
		}
		delete(joined, name)
		if isFirst {
			r.update.Joined = append(r.update.Joined, name)
		}
		r.update.Facts = s.facts.appendTo(r.update.Facts, name, s.now)
	}
	return r
}

// add registers a session, and returns whether its client was absent before it.
func (s *state) add(n *nodeState, add backplane.Session) (first bool) {
	if was, ok := n.live.get(add.ID); ok {
		add.Client = was.Client
		was.Session = add
		return was.first
	}
	if was, ok := s.ended.get(add.ID); ok {
		return was.first
	}
	if _, ok := n.owed.get(debtKey{backplane.SessionEnded, add.ID}); ok {
		return false
	}
	c := s.client(add.Client)
	s.leaving.remove(c.name)
	live := &sessionState{Session: add, client: c, first: !c.in}
	c.in = true
	c.sessions = append(c.sessions, live)
	n.live.put(add.ID, live)
	return live.first
}

// take takes a live session from its node and returns the debt that it leaves.
func (s *state) take(n *nodeState, live *sessionState) backplane.Debt {
	n.live.remove(live.ID)
	s.ended.put(live.ID, endedState{at: s.now, first: live.first})
	c := live.client
	c.sessions = slices.DeleteFunc(c.sessions, func(other *sessionState) bool { return other == live })
	if len(c.sessions) == 0 {
		c.ended = s.now
		s.leaving.put(c.name, c)
	}
	return backplane.Debt{Kind: backplane.SessionEnded, Session: live.Session}
}

func (s *state) forgetEnded() {
	for id, e := range s.ended.all() {
		if s.now.Sub(e.at) <= s.keep {
			break
		}
		s.ended.remove(id)
	}
	for id, at := range s.swept {
		if s.now.Sub(at) > sweptFor {
			delete(s.swept, id)
		}
	}
}

func (s *state) collect(c *command) (r result) {
	if s.isSwept(c.Node) {
		return result{err: backplane.ErrSwept}
	}
	self := s.node(c.Node)
	for key, o := range self.owed.all() { // what was collected, but never heard of
		if o.by != "" && slices.Contains(c.Redo, o.by) {
			r.debts = append(r.debts, o.debt)
			self.owed.put(key, owedState{debt: o.debt, by: c.ID})
		}
	}
	fresh := s.sweep(self, c.Max-len(r.debts))
	fresh = append(fresh, s.left(c.Max-len(r.debts)-len(fresh))...)
	for _, d := range fresh {
		self.owed.put(keyOf(d), owedState{debt: d, by: c.ID})
	}
	r.debts = append(r.debts, fresh...)
	return r
}

// sweep takes at most limit sessions and debts from nodes without a lease. A node
// from whom something is taken is swept, even if it keeps the rest until the
// next time.
func (s *state) sweep(self *nodeState, limit int) []backplane.Debt {
	var debts []backplane.Debt
	for _, id := range slices.Sorted(maps.Keys(s.nodes)) {
		n := s.nodes[id]
		if n == self || n.holds(s.now) {
			continue
		}
		if !n.empty() {
			if len(debts) >= limit {
				break
			}
			s.swept[id] = s.now
			debts = s.takeAll(n, debts, limit)
		}
		if n.empty() {
			delete(s.nodes, id)
		}
	}
	return debts
}

func (s *state) takeAll(n *nodeState, debts []backplane.Debt, limit int) []backplane.Debt {
	for key, o := range n.owed.all() {
		if len(debts) >= limit {
			return debts
		}
		n.owed.remove(key)
		debts = append(debts, o.debt)
	}
	for _, live := range n.live.all() {
		if len(debts) >= limit {
			return debts
		}
		debts = append(debts, s.take(n, live))
	}
	return debts
}

// left takes at most limit clients whose grace is over. One whose previous
// leaving is still owed has to wait until that is settled: the two would be taken
// for one.
func (s *state) left(limit int) []backplane.Debt {
	var debts []backplane.Debt
	for name, c := range s.leaving.all() {
		if len(debts) >= limit || s.now.Sub(c.ended) < s.grace {
			break
		}
		if c.owed {
			continue
		}
		s.leaving.remove(name)
		c.in, c.owed = false, true
		debts = append(debts, backplane.Debt{Kind: backplane.ClientLeft, Session: backplane.Session{Client: name}})
	}
	return debts
}

func (s *state) settle(c *command) {
	n := s.nodes[c.Node]
	if n == nil {
		return
	}
	for _, key := range c.Debts {
		if _, ok := n.owed.get(key); !ok {
			continue
		}
		n.owed.remove(key)
		if key.Kind == backplane.ClientLeft {
			if client := s.clients[key.Name]; client != nil {
				client.owed = false
				s.tidy(client)
			}
		}
	}
}

func (s *state) presence(name string) backplane.Presence {
	c := s.clients[name]
	if c == nil {
		return backplane.Absent
	}
	for _, live := range c.sessions {
		if s.holds(live.Node) {
			return backplane.Present
		}
	}
	if len(c.sessions) > 0 || c.in && s.now.Sub(c.ended) < s.grace {
		return backplane.Recent
	}
	return backplane.Absent
}

func (s *state) holds(node string) bool {
	n := s.nodes[node]
	return n != nil && n.holds(s.now)
}

// sessions appends the live sessions of a client on nodes that hold a lease.
func (s *state) sessions(out []backplane.Session, name string) []backplane.Session {
	c := s.clients[name]
	if c == nil {
		return out
	}
	for _, live := range c.sessions {
		if s.holds(live.Node) {
			out = append(out, live.Session)
		}
	}
	return out
}
