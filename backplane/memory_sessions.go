package backplane

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// sessionsPage is how many clients Sessions reads at a time.
const sessionsPage = 256

func validSessions(node string, sessions []Session) error {
	for i := range sessions {
		s := &sessions[i]
		if s.Node != node {
			return fmt.Errorf("backplane: session %q is of node %q, not of %q", s.ID, s.Node, node)
		}
		if err := ValidName(s.ID); err != nil {
			return fmt.Errorf("backplane: session: %w", err)
		}
		if err := ValidName(s.Client); err != nil {
			return fmt.Errorf("backplane: client: %w", err)
		}
		for _, topic := range s.Topics {
			if err := ValidName(topic); err != nil {
				return fmt.Errorf("backplane: topic: %w", err)
			}
		}
	}
	return nil
}

func (l *memoryLog) Update(ctx context.Context, node string, add []Session, end []string) (UpdateResult, error) {
	if err := validSessions(node, add); err != nil {
		return UpdateResult{}, err
	}
	ns, err := l.lock(ctx)
	if err != nil {
		return UpdateResult{}, err
	}
	defer ns.mu.Unlock()
	r := &ns.register
	if r.isSwept(node) {
		return UpdateResult{}, ErrSwept
	}
	ns.cfg = l.cfg
	now := time.Now()
	r.forgetEnded(max(ns.cfg.RetentionAge, ns.cfg.ResumeGrace), now)

	// Adding comes first, so that a session that is in both lists ends.
	n := r.node(node)
	var result UpdateResult
	clients := make(map[string]bool, len(add)) // whether it joined
	for _, s := range add {
		clients[s.Client] = r.add(n, s) || clients[s.Client]
	}
	asked := make(map[string]struct{}, len(end))
	for _, id := range end {
		if _, again := asked[id]; again {
			continue
		}
		asked[id] = struct{}{}
		if debt, ok := r.end(n, id, now); ok {
			result.Ended = append(result.Ended, debt)
		}
	}
	for _, s := range add {
		joined, ok := clients[s.Client]
		if !ok {
			continue
		}
		delete(clients, s.Client)
		if joined {
			result.Joined = append(result.Joined, s.Client)
		}
		result.Facts = r.facts.appendTo(result.Facts, s.Client, now)
	}
	return result, nil
}

// add registers a session, and returns whether its client was absent before it.
func (r *register) add(n *memoryNode, s Session) (first bool) {
	s = s.clone()
	if was, ok := n.live.get(s.ID); ok {
		s.Client = was.Client
		was.Session = s
		return was.first
	}
	if was, ok := r.ended.get(s.ID); ok {
		return was.first
	}
	if n.owed.has(debtKey{SessionEnded, s.ID}) {
		return false
	}
	c := r.client(s.Client)
	r.leaving.delete(c.name)
	ms := &memorySession{Session: s, client: c, first: !c.in}
	c.in = true
	c.sessions = append(c.sessions, ms)
	n.live.set(s.ID, ms)
	return ms.first
}

// end makes a live session a debt of its node, and returns what the node owes for
// it.
func (r *register) end(n *memoryNode, id string, now time.Time) (Debt, bool) {
	if s, ok := n.live.get(id); ok {
		d := r.take(n, s, now)
		n.owed.set(d.key(), d)
	}
	d, ok := n.owed.get(debtKey{SessionEnded, id})
	d.Session = d.Session.clone()
	return d, ok
}

// take takes a live session from its node and returns the debt that it leaves.
func (r *register) take(n *memoryNode, s *memorySession, now time.Time) Debt {
	n.live.delete(s.ID)
	r.ended.set(s.ID, endedSession{at: now, first: s.first})
	c := s.client
	c.sessions = slices.DeleteFunc(c.sessions, func(other *memorySession) bool { return other == s })
	if len(c.sessions) == 0 {
		c.ended = now
		r.leaving.set(c.name, c)
	}
	return Debt{Kind: SessionEnded, Session: s.Session}
}

func (r *register) forgetEnded(after time.Duration, now time.Time) {
	for id, s := range r.ended.all() {
		if now.Sub(s.at) <= after {
			break
		}
		r.ended.delete(id)
	}
}

func (l *memoryLog) Sessions(ctx context.Context, clients ...string) iter.Seq2[Session, error] {
	return func(yield func(Session, error) bool) {
		names, err := l.clientNames(ctx, clients)
		if err != nil {
			yield(Session{}, err)
			return
		}
		for chunk := range slices.Chunk(names, sessionsPage) {
			sessions, err := l.sessionsOf(ctx, chunk)
			if err != nil {
				yield(Session{}, err)
				return
			}
			for _, s := range sessions {
				if !yield(s, nil) {
					return
				}
			}
		}
	}
}

// clientNames returns the names given, each once, or those of all clients.
func (l *memoryLog) clientNames(ctx context.Context, names []string) ([]string, error) {
	if len(names) > 0 {
		names = slices.Clone(names)
		slices.Sort(names)
		return slices.Compact(names), l.ready(ctx)
	}
	ns, err := l.lock(ctx)
	if err != nil {
		return nil, err
	}
	names = slices.AppendSeq(make([]string, 0, len(ns.register.clients)), maps.Keys(ns.register.clients))
	ns.mu.Unlock()
	slices.Sort(names)
	return names, nil
}

func (l *memoryLog) sessionsOf(ctx context.Context, clients []string) ([]Session, error) {
	ns, err := l.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer ns.mu.Unlock()
	r := &ns.register
	now := time.Now()
	var out []Session
	for _, name := range clients {
		c := r.clients[name]
		if c == nil {
			continue
		}
		for _, s := range c.sessions {
			if r.nodes[s.Node].holds(now) {
				out = append(out, s.clone())
			}
		}
	}
	return out, nil
}
