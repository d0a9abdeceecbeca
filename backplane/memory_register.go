package backplane

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// register is who is connected where. What belongs to one noun (leases,
// sessions, debts, presence, facts) stands in the file of that name.
type register struct {
	nodes map[string]*memoryNode
	// swept are the nodes that may never come back.
	swept map[string]struct{}

	clients map[string]*memoryClient
	// leaving are the clients that are in and have no session, in the order in which
	// their last one ended.
	leaving *ordered[string, *memoryClient]
	// ended are the sessions that ended, in that order, so that a late Update does
	// not bring them back.
	ended *ordered[string, endedSession]

	facts factStore
}

// memoryNode is what a node has. It holds a lease until the time lease.
type memoryNode struct {
	id    string
	lease time.Time
	live  *ordered[string, *memorySession] // by session id
	owed  *ordered[debtKey, Debt]
}

// memoryClient is a client with a session, or one that is in or whose leaving
// is owed.
type memoryClient struct {
	name     string
	sessions []*memorySession
	// in: it was reported as joined, and its leaving has not been collected.
	in bool
	// owed: a node owes its ClientLeft.
	owed bool
	// ended is when its last session ended; meaningful only without sessions.
	ended time.Time
}

type memorySession struct {
	Session
	client *memoryClient
	// first: the client was absent before it.
	first bool
}

type endedSession struct {
	at    time.Time
	first bool
}

type debtKey struct {
	kind DebtKind
	name string // the id of the session, or the client that left
}

func (d Debt) key() debtKey {
	if d.Kind == ClientLeft {
		return debtKey{d.Kind, d.Session.Client}
	}
	return debtKey{d.Kind, d.Session.ID}
}

func newRegister() register {
	return register{
		nodes:   make(map[string]*memoryNode),
		swept:   make(map[string]struct{}),
		clients: make(map[string]*memoryClient),
		leaving: newOrdered[string, *memoryClient](),
		ended:   newOrdered[string, endedSession](),
		facts:   newFactStore(),
	}
}

func (r *register) isSwept(node string) bool {
	_, ok := r.swept[node]
	return ok
}

func (r *register) node(id string) *memoryNode {
	n := r.nodes[id]
	if n == nil {
		n = &memoryNode{
			id:   id,
			live: newOrdered[string, *memorySession](),
			owed: newOrdered[debtKey, Debt](),
		}
		r.nodes[id] = n
	}
	return n
}

func (n *memoryNode) holds(now time.Time) bool { return n.lease.After(now) }

func (n *memoryNode) empty() bool { return n.live.len() == 0 && n.owed.len() == 0 }

func (r *register) client(name string) *memoryClient {
	c := r.clients[name]
	if c == nil {
		c = &memoryClient{name: name}
		r.clients[name] = c
	}
	return c
}

// tidy forgets a client of whom nothing is left to know.
func (r *register) tidy(c *memoryClient) {
	if len(c.sessions) == 0 && !c.in && !c.owed {
		delete(r.clients, c.name)
	}
}

func (s Session) clone() Session {
	s.Topics = slices.Clone(s.Topics)
	return s
}

func (l *memoryLog) Renew(ctx context.Context, node string, ttl time.Duration) error {
	if ttl <= 0 {
		return fmt.Errorf("backplane: lease of %v is not positive", ttl)
	}
	ns, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer ns.mu.Unlock()
	if ns.register.isSwept(node) {
		return ErrSwept
	}
	ns.register.node(node).lease = time.Now().Add(ttl)
	return nil
}

func (l *memoryLog) Release(ctx context.Context, node string) error {
	ns, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer ns.mu.Unlock()
	n := ns.register.nodes[node]
	if n == nil {
		return nil
	}
	n.lease = time.Time{}
	if n.empty() {
		delete(ns.register.nodes, node)
	}
	return nil
}
