package backplane

import (
	"context"
	"maps"
	"slices"
	"time"
)

func (l *memoryLog) Collect(ctx context.Context, node string, limit int) ([]Debt, error) {
	ns, err := l.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer ns.mu.Unlock()
	r := &ns.register
	if r.isSwept(node) {
		return nil, ErrSwept
	}
	ns.cfg = l.cfg
	now := time.Now()
	self := r.node(node)
	debts := r.sweep(self, limit, now)
	debts = append(debts, r.left(limit-len(debts), ns.cfg.ResumeGrace, now)...)
	for i, d := range debts {
		self.owed.set(d.key(), d)
		debts[i].Session = d.Session.clone()
	}
	return debts, nil
}

// sweep takes at most limit sessions and debts from nodes without a lease. A node
// from whom something is taken is swept for ever, even if it keeps the rest
// until the next call.
func (r *register) sweep(self *memoryNode, limit int, now time.Time) []Debt {
	var debts []Debt
	for _, id := range slices.Sorted(maps.Keys(r.nodes)) {
		n := r.nodes[id]
		if n == self || n.holds(now) {
			continue
		}
		if !n.empty() {
			if len(debts) >= limit {
				break
			}
			r.swept[id] = struct{}{}
			debts = r.takeAll(n, debts, limit, now)
		}
		if n.empty() {
			delete(r.nodes, id)
		}
	}
	return debts
}

// takeAll appends what n owes and has to debts until these are limit.
func (r *register) takeAll(n *memoryNode, debts []Debt, limit int, now time.Time) []Debt {
	for key, d := range n.owed.all() {
		if len(debts) >= limit {
			return debts
		}
		n.owed.delete(key)
		debts = append(debts, d)
	}
	for _, s := range n.live.all() {
		if len(debts) >= limit {
			return debts
		}
		debts = append(debts, r.take(n, s, now))
	}
	return debts
}

// left takes at most limit clients whose grace is over. One whose previous
// leaving is still owed has to wait for that to be settled, so that the two
// are not taken for one.
func (r *register) left(limit int, grace time.Duration, now time.Time) []Debt {
	var debts []Debt
	for name, c := range r.leaving.all() {
		if len(debts) >= limit || now.Sub(c.ended) < grace {
			break
		}
		if c.owed {
			continue
		}
		r.leaving.delete(name)
		c.in, c.owed = false, true
		debts = append(debts, Debt{Kind: ClientLeft, Session: Session{Client: name}})
	}
	return debts
}

func (l *memoryLog) Settle(ctx context.Context, node string, debts []Debt) error {
	ns, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer ns.mu.Unlock()
	r := &ns.register
	n := r.nodes[node]
	if n == nil {
		return nil
	}
	for _, d := range debts {
		key := d.key()
		if !n.owed.has(key) {
			continue
		}
		n.owed.delete(key)
		if d.Kind == ClientLeft {
			c := r.clients[d.Session.Client]
			c.owed = false
			r.tidy(c)
		}
	}
	return nil
}
