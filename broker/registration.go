package broker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// registerPatience is how long a connection waits for the register before its
// stream starts without it.
const registerPatience = time.Second

// register lists the session in the register, so that whoever hears of the open
// stream finds the client, and makes it one of the node's.
func (b *Broker) register(ctx context.Context, s *session, c connectConfig, metadata []byte, at cursor) error {
	topics := c.client.Topics
	slices.Sort(topics)
	topics = slices.Compact(topics)
	listing := b.roster.add(s, b.cfg.nodeName, topics)
	patience := time.NewTimer(registerPatience)
	defer patience.Stop()
	select {
	case <-listing.waiter:
	case <-patience.C:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrClientGone, context.Cause(ctx))
	}
	informed, facts, absent, err := b.roster.registered(listing)
	if err != nil {
		return err
	}
	if err := b.placeEpochs(ctx, facts); err != nil {
		return err
	}
	if !absent.IsZero() && len(facts) > 0 {
		facts = b.node.forgotten(facts, absent)
		b.putSoon(ctx, withTTL(facts, b.cfg.factTTL()))
	}
	if metadata != nil {
		ctx, cancel := context.WithTimeout(ctx, registerPatience)
		defer cancel()
		if err := b.setMetadata(ctx, s.client, metadata, facts); err != nil {
			b.cfg.logger.Warn("sseplane: could not set the metadata of a new connection", "error", err)
		}
	}
	return b.node.join(s, topics, at, informed, facts, b.retry())
}

// placeEpochs asks the bus where the epochs of facts belong that the node has not been in. Without
// an answer nobody can tell whether the node or the register knows better.
func (b *Broker) placeEpochs(ctx context.Context, facts []backplane.Fact) error {
	if !b.node.unplaced(facts) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, registerPatience)
	defer cancel()
	for attempt := 0; ; attempt++ {
		bounds, err := b.log.Bounds(ctx)
		if err == nil {
			b.node.placeEpochs(facts, bounds.Epoch)
			return nil
		}
		sleep(ctx, backoff(attempt))
		if ctx.Err() != nil {
			return unavailable("connect", err)
		}
	}
}

// putSoon writes facts now, or, if the bus does not answer in time, later.
func (b *Broker) putSoon(ctx context.Context, facts []backplane.Fact) {
	ctx, cancel := context.WithTimeout(ctx, registerPatience)
	defer cancel()
	if b.log.Put(ctx, facts) != nil {
		b.roster.put(facts)
	}
}

// learnLate takes over what the register has said of a session's client only when
// its stream had begun.
func (b *Broker) learnLate(s *session, facts []backplane.Fact, absent Position) {
	if err := b.placeEpochs(b.ctx, facts); err != nil {
		s.end(err, newFarewellFrame(b.retry()))
		return
	}
	if !absent.IsZero() && len(facts) > 0 {
		facts = b.node.forgotten(facts, absent)
		b.roster.put(withTTL(facts, b.cfg.factTTL()))
	}
	b.node.learnLate(s, facts)
}

// forgotten makes of facts that have outlived the client's absence, which lasted until
// at, ones that say that there is nothing to know.
func (n *node) forgotten(facts []backplane.Fact, at Position) []backplane.Fact {
	n.mu.Lock()
	defer n.mu.Unlock()
	facts = slices.Clone(facts)
	for i := range facts {
		f := &facts[i]
		if n.later(f.Version, at) {
			continue
		}
		switch f.Kind {
		case backplane.FactTopic:
			f.Value, f.Version = membership{}.encode(), at
		case backplane.FactMetadata:
			f.Value, f.Version = nil, at
		}
	}
	return facts
}

func withTTL(facts []backplane.Fact, ttl time.Duration) []backplane.Fact {
	out := slices.Clone(facts)
	for i := range out {
		out[i].TTL = ttl
	}
	return slices.DeleteFunc(out, func(f backplane.Fact) bool { return f.Kind == backplane.FactDisconnect })
}
