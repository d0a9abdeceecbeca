package broker

import (
	"slices"

	"github.com/sseplane/sseplane/backplane"
)

// learn takes over facts of the register, or of the log, where this node does not know
// better.
func (n *node) learn(c *localClient, facts []backplane.Fact) {
	for _, f := range facts {
		k := factKey{f.Kind, f.Name}
		known, ok := c.facts[k]
		switch {
		case !ok, joinedEarlier(f, known):
			c.facts[k] = f
		case f.Kind == backplane.FactTopic && membershipOf(f).pending:
			// It will be heard, or has been.
		case f.Version != known.Version && !n.later(known.Version, f.Version):
			c.facts[k] = f
		}
	}
}

// joinedEarlier reports whether a says of the same join as b that it changed nothing,
// because the client had been joined before.
func joinedEarlier(a, b backplane.Fact) bool {
	return a.Kind == backplane.FactTopic && a.Version == b.Version &&
		membershipOf(a).saysMore(membershipOf(b), a.Version)
}

// apply takes over what a control entry says, and returns it as facts.
func (n *node) apply(c *localClient, e *entry) (said []backplane.Fact) {
	say := func(kind backplane.FactKind, name string, value []byte) {
		said = append(said, backplane.Fact{
			Client: e.control.client, Kind: kind, Name: name, Value: value, Version: e.pos,
		})
	}
	switch e.control.op {
	case opDisconnect:
		say(backplane.FactDisconnect, "", e.control.value)
	case opJoin:
		for _, topic := range e.control.topics {
			before := membershipOf(c.facts[factKey{backplane.FactTopic, topic}])
			say(backplane.FactTopic, topic, before.joinedAgain(string(e.control.value), e.pos).encode())
		}
	case opLeave:
		for _, topic := range e.control.topics {
			say(backplane.FactTopic, topic, membership{op: string(e.control.value)}.encode())
		}
	case opMetadata:
		say(backplane.FactMetadata, "", e.control.value)
	}
	n.learn(c, said)
	return said
}

// disconnectedAfter reports whether the register has a disconnect that the
// session has to follow: one behind its position. One of an epoch that the node is yet to
// come to is followed then.
func (c *localClient) disconnectedAfter(pos backplane.Position) bool {
	f, ok := c.facts[factKey{backplane.FactDisconnect, ""}]
	return ok && (f.Version.Epoch == pos.Epoch && f.Version.Seq > pos.Seq)
}

func (c *localClient) remove(s *session) {
	if i := slices.Index(c.sessions, s); i >= 0 {
		c.sessions = slices.Delete(c.sessions, i, i+1)
	}
}

// applyControl does what a new control entry says to the sessions of its
// client. The node's lock is held.
func (n *node) applyControl(e *entry) {
	c := n.clients[e.control.client]
	if c == nil || len(c.sessions) == 0 {
		return // who is just joining applies it on top of the facts, from the window
	}
	said := n.apply(c, e)
	for _, s := range c.sessions {
		changed := false
		for _, f := range said {
			changed = n.hear(s, f) || changed
		}
		if changed {
			n.changed(s)
		}
	}
}

// hear does to a session what a control entry says, and reports whether its topics
// have changed by that. One that knows of a later Join or Leave from the register, because it was
// opened while this node was lagging, is not told of the earlier ones.
func (n *node) hear(s *session, f backplane.Fact) (changed bool) {
	k := key{kindTopic, f.Name}
	switch {
	case f.Kind == backplane.FactDisconnect:
		s.note(f)
		if n.isAfter(s, f.Version) {
			s.end(disconnected(disconnectReason(f.Value)))
		}
		return false
	case f.Kind != backplane.FactTopic || n.knowsLater(s, f):
		return false
	}
	s.note(f)
	if isJoined(f) {
		return n.subscribe(s, k, f.Version.Seq)
	}
	return n.unsubscribe(s, k)
}

// joinTopics makes the session follow topics from a position on, also those that it was
// to follow only from a later one.
func (n *node) joinTopics(s *session, topics []string, since uint64) (changed bool) {
	for _, topic := range topics {
		k := key{kindTopic, topic}
		if n.subscribe(s, k, since) {
			changed = true
		} else if sub := s.subscription(k); sub.since > since {
			sub.since = since
		}
	}
	return changed
}

func (n *node) leaveTopics(s *session, topics []string) (changed bool) {
	for _, topic := range topics {
		changed = n.unsubscribe(s, key{kindTopic, topic}) || changed
	}
	return changed
}
