package broker

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// resetSpread is the time over which sessions are reset when all of them are, so
// that their clients do not fetch everything anew at the same moment.
const resetSpread = 2 * time.Second

// maxEpochs is how many epochs a node remembers.
const maxEpochs = 64

// deafFor returns how long ago the last page came.
func (n *node) deafFor() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Since(n.heard)
}

// at returns where the node stands, even when it takes no sessions.
func (n *node) at() backplane.Position {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pos
}

func (n *node) clientNames() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Keys(n.clients))
}

// startOver moves the node to a position that does not continue where it was:
// the sessions that were before it are due a reset. It has skipped some epochs.
func (n *node) startOver(at backplane.Position, reason ResetReason, facts []backplane.Fact, skipped []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	from := n.pos
	n.window = newWindow(at)
	n.pos = at
	n.enter(at.Epoch, skipped)
	n.relearn(facts, from, at)
	now := time.Now()
	for _, s := range n.sessions {
		if s.state == stateForeign && s.cursor.Epoch == at.Epoch ||
			s.state == stateAhead && s.cursor.Epoch == at.Epoch && s.cursor.Seq >= at.Seq {
			n.settle(s) // it knew before this node
			continue
		}
		if s.state == stateForeign && !slices.Contains(n.epochs, s.cursor.Epoch) {
			s.passedBy = at // it may know even more: the bus is asked again
			n.askBus()
			continue
		}
		delete(n.waiting, s)
		delete(n.scanning, s)
		s.fallSilent()
		s.state, s.reset = stateReset, reason
		s.cursor = at
		s.resetAt = now.Add(rand.N(resetSpread))
	}
	n.pokeClock()
}

// relearn takes over what the node has missed about its clients by going from one
// position to another. What is behind the new one it will hear.
func (n *node) relearn(facts []backplane.Fact, from, to backplane.Position) {
	if from.Epoch != to.Epoch {
		for _, s := range n.sessions {
			for i := range s.subs {
				s.subs[i].since = 0 // numbers of another history
			}
		}
	}
	for _, f := range facts {
		c := n.clients[f.Client]
		if c == nil {
			continue
		}
		k := factKey{f.Kind, f.Name}
		if known, ok := c.facts[k]; ok && (known.Version == f.Version || f.Kind == backplane.FactTopic && membershipOf(f).pending) {
			c.facts[k] = f // somebody may be about to change it
		}
		n.learn(c, []backplane.Fact{f})
		for _, s := range c.sessions {
			n.catchUp(s, c.facts[k], to)
		}
	}
}

// resetDue writes the reset of a session whose turn has come.
func (n *node) resetDue(s *session) {
	n.resetAtPosition(s, s.cursor, s.reset)
}

// waitingSessions returns the sessions that wait for the bus to judge their cursor.
func (n *node) waitingSessions() []*session {
	n.mu.Lock()
	defer n.mu.Unlock()
	var asking []*session
	for s := range n.waiting {
		if s.state == stateForeign || !s.asked {
			asking = append(asking, s)
		}
	}
	return asking
}

// answer judges cursors by what the bus has said after they came. It reports
// whether the bus is in another epoch than this node, which then moves first.
func (n *node) answer(asking []*session, b backplane.Bounds) (moved bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if b.Epoch != n.pos.Epoch {
		return true // startOver settles those who wait
	}
	for _, s := range asking {
		if _, waits := n.waiting[s]; !waits {
			continue
		}
		switch {
		case s.cursor.Epoch != b.Epoch && s.passedBy.Epoch == b.Epoch:
			n.resetAtPosition(s, s.passedBy, ResetHistory)
		case s.cursor.Epoch != b.Epoch:
			n.resetNow(s, ResetHistory)
		case s.cursor.Seq > b.Last.Seq:
			n.resetNow(s, ResetHistory)
		default:
			s.asked = true
		}
	}
	return false
}
