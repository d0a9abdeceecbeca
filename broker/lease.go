package broker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// keeper holds the node's lease, takes over what nodes without one owe, and
// keeps the facts about this node's clients from being forgotten.
type keeper struct {
	log       backplane.Log
	logger    *slog.Logger
	roster    *roster
	callbacks *callbacks
	node      *node
	ttl       time.Duration
	touch     time.Duration // how often facts are put anew
	factTTL   time.Duration

	inTouch time.Time // since when every renewal has succeeded; zero: not now
	touched time.Time
}

func newKeeper(n *node, log backplane.Log, cfg *config, r *roster, c *callbacks) *keeper {
	return &keeper{
		log: log, logger: cfg.logger, roster: r, callbacks: c, node: n,
		ttl: cfg.lease, touch: cfg.touchInterval(), factTTL: cfg.factTTL(),
	}
}

// run renews the lease three times in its life until ctx ends.
func (k *keeper) run(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; {
		if err := k.renew(ctx); err != nil {
			if errors.Is(err, backplane.ErrClosed) {
				return
			}
			if attempt == 0 && ctx.Err() == nil {
				k.logger.Warn("sseplane: renewing the lease failed, trying again", "error", err)
			}
			sleep(ctx, min(backoff(attempt), k.ttl/3))
			attempt++
			continue
		}
		attempt = 0
		k.collect(ctx)
		k.touchFacts()
		sleep(ctx, k.ttl/3)
	}
}

// renew renews the lease once, and starts a new life when the old one is over.
func (k *keeper) renew(ctx context.Context) error {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, min(callTimeout, k.ttl))
	defer cancel()
	nodeID := k.roster.id()
	err := k.log.Renew(ctx, nodeID, k.ttl)
	switch {
	case errors.Is(err, backplane.ErrSwept):
		k.inTouch = time.Time{}
		k.roster.lapsed(nodeID)
		return nil
	case err != nil:
		k.inTouch = time.Time{}
		return err
	case k.inTouch.IsZero():
		k.inTouch = started
	}
	k.roster.haveLease(nodeID)
	return nil
}

// collect takes over debts, but not before this node has itself been in touch
// with the bus for a full lease: an outage of the bus is not the death of all others.
func (k *keeper) collect(ctx context.Context) {
	if k.inTouch.IsZero() || time.Since(k.inTouch) < k.ttl {
		return
	}
	for ctx.Err() == nil {
		nodeID := k.roster.id()
		var debts []backplane.Debt
		err := bounded(ctx, func(ctx context.Context) (err error) {
			debts, err = k.log.Collect(ctx, nodeID, k.roster.batch)
			return err
		})
		if errors.Is(err, backplane.ErrSwept) {
			k.inTouch = time.Time{}
			k.roster.lapsed(nodeID)
			return
		}
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, backplane.ErrClosed) {
				k.logger.Warn("sseplane: collecting the sessions of dead nodes failed", "error", err)
			}
			return
		}
		if !k.roster.owe(nodeID, debts) {
			return
		}
		if len(debts) < k.roster.batch {
			return
		}
	}
}

// touchFacts puts this node's copy of what is known of its clients back into the
// register, so that it outlives the bus's forgetting or losing it.
func (k *keeper) touchFacts() {
	if now := time.Now(); now.Sub(k.touched) >= k.touch {
		k.touched = now
		k.roster.put(k.node.knownFacts(k.factTTL))
	}
}

// knownFacts returns this node's copy of the facts about its clients.
func (n *node) knownFacts(ttl time.Duration) []backplane.Fact {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []backplane.Fact
	for _, c := range n.clients {
		for k, f := range c.facts {
			if k.kind != backplane.FactDisconnect && !f.Version.IsZero() && len(c.sessions) > 0 {
				f.TTL = ttl
				all = append(all, f)
			}
		}
	}
	return all
}

func (r *roster) id() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodeID
}

// owe queues the callbacks for debts that the node has taken over, unless it has
// lost them again with its life.
func (r *roster) owe(nodeID string, debts []backplane.Debt) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nodeID != nodeID {
		return false
	}
	for _, d := range debts {
		r.callbacks.pay(d)
	}
	return true
}

func (r *roster) haveLease(nodeID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nodeID == nodeID && !r.leased {
		r.leased = true
		signalFunc(r.signal)()
	}
}
