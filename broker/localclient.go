package broker

import (
	"slices"

	"github.com/sseplane/sseplane/backplane"
)

// learn takes over facts of the register, where this node does not know better, and
// reports whether there were any.
func (c *localClient) learn(facts []backplane.Fact, epoch string) (changed bool) {
	for _, f := range facts {
		k := factKey{f.Kind, f.Name}
		if known, ok := c.facts[k]; !ok || newer(f.Version, known.Version, epoch) || joinedEarlier(f, known) {
			c.facts[k] = f
			changed = true
		}
	}
	return changed
}

// joinedEarlier reports whether a says of the same join as b that it changed nothing,
// because the client had been joined before.
func joinedEarlier(a, b backplane.Fact) bool {
	return a.Kind == backplane.FactTopic && a.Version == b.Version &&
		membershipOf(a).saysMore(membershipOf(b), a.Version)
}

// newer reports whether version a, which the register or the log has, beats b,
// which this node has; epoch is the present one. Of two versions from the past the
// node's may be the staler one.
func newer(a, b backplane.Position, epoch string) bool {
	if a.Epoch == b.Epoch {
		return a.Seq > b.Seq
	}
	return a.Epoch == epoch || b.Epoch != epoch
}

// apply takes over what a control entry says.
func (c *localClient) apply(e *entry) {
	set := func(kind backplane.FactKind, name string, value []byte) {
		c.learn([]backplane.Fact{{
			Client: e.control.client, Kind: kind, Name: name, Value: value, Version: e.pos,
		}}, e.pos.Epoch)
	}
	switch e.control.op {
	case opDisconnect:
		set(backplane.FactDisconnect, "", e.control.value)
	case opJoin:
		for _, topic := range e.control.topics {
			before := membershipOf(c.facts[factKey{backplane.FactTopic, topic}])
			set(backplane.FactTopic, topic, before.joinedAgain(string(e.control.value), e.pos).encode())
		}
	case opLeave:
		for _, topic := range e.control.topics {
			set(backplane.FactTopic, topic, membership{op: string(e.control.value)}.encode())
		}
	case opMetadata:
		set(backplane.FactMetadata, "", e.control.value)
	}
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
	c.apply(e)
	for _, s := range c.sessions {
		switch e.control.op {
		case opDisconnect:
			s.note(c.facts[factKey{backplane.FactDisconnect, ""}])
			if s.joinedAt.Epoch != e.pos.Epoch || s.joinedAt.Seq < e.pos.Seq {
				s.end(disconnected(disconnectReason(e.control.value)))
			}
		case opJoin, opLeave:
			for _, topic := range e.control.topics {
				s.note(c.facts[factKey{backplane.FactTopic, topic}])
			}
			if e.control.op == opJoin && n.joinTopics(s, e.control.topics, e.pos.Seq) ||
				e.control.op == opLeave && n.leaveTopics(s, e.control.topics) {
				n.changed(s)
			}
		}
	}
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
