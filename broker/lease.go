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

	inTouch   time.Time // since when the bus has answered without a break; zero: not now
	answered  time.Time // when the bus has answered last
	touched   time.Time
	collector string // id under which debts are collected; empty: none yet
	unsure    bool   // a call of the collector ended without a reply
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
	ctx, cancel := context.WithTimeout(ctx, min(callTimeout, k.ttl))
	defer cancel()
	nodeID, begun := k.roster.id(), time.Now()
	err := k.log.Renew(ctx, nodeID, k.ttl)
	switch {
	case errors.Is(err, backplane.ErrSwept):
		k.inTouch = time.Time{}
		k.roster.lapsed(nodeID)
		return nil
	case err != nil:
		k.inTouch = time.Time{}
		return err
	}
	now := time.Now()
	// The call may have waited for the bus to come back, and leases have lapsed meanwhile.
	if k.inTouch.IsZero() || now.Sub(k.answered) > k.breakTime() {
		k.inTouch = now
	}
	k.answered = now
	k.callbacks.leased(nodeID, begun.Add(k.ttl))
	k.roster.haveLease(nodeID)
	return nil
}

// breakTime is how long the bus may be silent before that is an outage of it, in which
// the leases of others may have come close to their end: they are renewed three times in
// their life, and it takes others a moment to find that the bus is back.
func (k *keeper) breakTime() time.Duration { return k.ttl / 2 }

// ask bounds a call of the collector so that it does not outlast an outage of the bus, in which
// case it would find everybody's lease at its end.
func (k *keeper) ask(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithDeadline(ctx, k.answered.Add(k.breakTime()))
	defer cancel()
	err := bounded(ctx, do)
	if err == nil {
		k.answered = time.Now()
	}
	return err
}

// collect takes over debts, but not before this node has itself been in touch
// with the bus for a full lease: an outage of the bus is not the death of all others.
//
// It does so under an id of its own, the collector's. When the reply to a call is lost
// the node may owe debts that it has never heard of: then the collector is given up
// as soon as what it does know of is settled, and the rest is collected anew.
func (k *keeper) collect(ctx context.Context) {
	if k.inTouch.IsZero() || time.Since(k.inTouch) < k.ttl {
		return
	}
	if err := k.renewCollector(ctx); err != nil {
		return
	}
	for ctx.Err() == nil && !k.unsure {
		var debts []backplane.Debt
		err := k.ask(ctx, func(ctx context.Context) (err error) {
			debts, err = k.log.Collect(ctx, k.collector, k.roster.batch)
			return err
		})
		switch {
		case errors.Is(err, backplane.ErrSwept):
			k.roster.disown(k.collector)
			k.collector = ""
			return
		case err != nil:
			k.unsure = true
			if ctx.Err() == nil && !errors.Is(err, backplane.ErrClosed) {
				k.logger.Warn("sseplane: collecting the sessions of dead nodes failed", "error", err)
			}
			return
		}
		k.roster.owe(k.collector, debts)
		if len(debts) < k.roster.batch {
			return
		}
	}
}

// renewCollector renews the collector's lease, or gives it up when its time has come.
func (k *keeper) renewCollector(ctx context.Context) error {
	if k.collector != "" && k.unsure && !k.roster.owes(k.collector) {
		if err := k.releaseCollector(ctx); err != nil {
			return err
		}
	}
	if k.collector == "" {
		k.collector, k.unsure = randomID(), false
	}
	begun := time.Now()
	err := k.ask(ctx, func(ctx context.Context) error { return k.log.Renew(ctx, k.collector, k.ttl) })
	switch {
	case err == nil:
		k.callbacks.leased(k.collector, begun.Add(k.ttl))
	case errors.Is(err, backplane.ErrSwept):
		k.roster.disown(k.collector)
		k.collector = ""
	}
	return err
}

// release says goodbye: what is still owed under this node's ids is collected by
// others as soon as they look. It is called when run has returned.
func (k *keeper) release(ctx context.Context) {
	err := errors.Join(k.log.Release(ctx, k.roster.id()), k.releaseCollector(ctx))
	if err != nil {
		k.logger.Warn("sseplane: releasing the lease failed; it will lapse", "error", err)
	}
}

func (k *keeper) releaseCollector(ctx context.Context) error {
	if k.collector == "" {
		return nil
	}
	err := bounded(ctx, func(ctx context.Context) error { return k.log.Release(ctx, k.collector) })
	if err == nil {
		k.roster.disown(k.collector)
		k.collector = ""
	}
	return err
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

// renewals returns what is to be put so that the register goes on remembering the facts,
// of which it has those of theirs: ours, where it has none or an older one, else its own.
func (n *node) renewals(ours, theirs []backplane.Fact) []backplane.Fact {
	n.mu.Lock()
	defer n.mu.Unlock()
	type clientFact struct {
		client string
		factKey
	}
	registered := make(map[clientFact]backplane.Fact, len(theirs))
	for _, f := range theirs {
		registered[clientFact{f.Client, factKey{f.Kind, f.Name}}] = f
	}
	put := make([]backplane.Fact, 0, len(ours))
	for _, f := range ours {
		their, ok := registered[clientFact{f.Client, factKey{f.Kind, f.Name}}]
		switch {
		case !ok, n.replaces(f, their):
			put = append(put, f)
		case their.Version.Seq > 0:
			// An older version renews it, and undoes nothing that is decided just now.
			their.Version.Seq--
			their.TTL = f.TTL
			put = append(put, their)
		}
	}
	return put
}

// replaces reports whether the node knows better than the register what became of a fact. A
// Join or Leave that is being made is none of its business, unless it was heard of.
func (n *node) replaces(our, their backplane.Fact) bool {
	m := membershipOf(their)
	if their.Kind == backplane.FactTopic && m.pending {
		return m.op == membershipOf(our).op
	}
	return joinedEarlier(our, their) || !n.isUnplaced(their) && n.later(our.Version, their.Version)
}

func (r *roster) id() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodeID
}

// owe queues the callbacks for debts that the node has taken over.
func (r *roster) owe(owner string, debts []backplane.Debt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.oweLocked(owner, debts)
}

func (r *roster) haveLease(nodeID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nodeID == nodeID && !r.leased {
		r.leased = true
		signalFunc(r.signal)()
	}
}
