package broker

import (
	"slices"

	"github.com/sseplane/sseplane/backplane"
)

// learn takes over facts of the register, or of the log, where this node does not know
// better; epochs are those that it has been in.
func (c *localClient) learn(facts []backplane.Fact, epochs []string) {
	for _, f := range facts {
		k := factKey{f.Kind, f.Name}
		known, ok := c.facts[k]
		switch {
		case !ok, joinedEarlier(f, known):
			c.facts[k] = f
		case f.Kind == backplane.FactTopic && membershipOf(f).pending:
			// It will be heard, or has been.
		case newer(f.Version, known.Version, epochs):
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

// newer reports whether version a beats b, which this node has. What the register has
// from an epoch that the node has not been in came to be while it was behind.
func newer(a, b backplane.Position, epochs []string) bool {
	if a.Epoch == b.Epoch {
		return a.Seq > b.Seq
	}
	i, j := slices.Index(epochs, a.Epoch), slices.Index(epochs, b.Epoch)
	return i < 0 || j < 0 || i > j
}

// apply takes over what a control entry says, and returns it as facts.
func (c *localClient) apply(e *entry, epochs []string) (said []backplane.Fact) {
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
	c.learn(said, epochs)
	return said
}

// disconnectedAfter reports whether the register has a disconnect that the
// session has to follow: one behind its position, or one that can not be compared.
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
	said := c.apply(e, n.epochs)
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
	case f.Kind != backplane.FactTopic || s.knowsLater(f):
		return false
	}
	s.note(f)
	if isJoined(f) {
		return n.subscribe(s, k, f.Version.Seq)
	}
	return n.unsubscribe(s, k)
}

func (n *node) joinTopics(s *session, topics []string, since uint64) (changed bool) {
	for _, topic := range topics {
		changed = n.subscribe(s, key{kindTopic, topic}, since) || changed
	}
	return changed
}

func (n *node) leaveTopics(s *session, topics []string) (changed bool) {
	for _, topic := range topics {
		changed = n.unsubscribe(s, key{kindTopic, topic}) || changed
	}
	return changed
}
