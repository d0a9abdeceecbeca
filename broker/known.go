package broker

import (
	"bytes"
	"slices"

	"github.com/sseplane/sseplane/backplane"
)

// What the cluster says of a client reaches its sessions as control entries. A node
// that may have missed some compares what the register says now with what each
// session has taken into account: session.known, for topics and disconnects.

// note takes a fact into account without doing anything.
func (s *session) note(f backplane.Fact) {
	if s.known == nil {
		s.known = make(map[factKey]backplane.Fact)
	}
	s.known[factKey{f.Kind, f.Name}] = f
}

// noteLeft remembers that the connection has left topics of which the register has yet
// to say whether the client was joined to them before.
func (s *session) noteLeft(topics []string, at backplane.Position) {
	for _, topic := range topics {
		if _, ok := s.known[factKey{backplane.FactTopic, topic}]; !ok && !s.informed {
			s.note(backplane.Fact{Client: s.client, Kind: backplane.FactTopic, Name: topic, Value: membership{}.encode(), Version: at})
		}
	}
}

// knowsLater reports whether the session has taken something into account that was
// decided later than the fact, or the fact itself.
func (s *session) knowsLater(f backplane.Fact) bool {
	known, ok := s.known[factKey{f.Kind, f.Name}]
	return ok && known.Version.Epoch == f.Version.Epoch && known.Version.Seq >= f.Version.Seq
}

// isNews reports whether the session has not taken the fact into account. That the
// client was absent is none for a session that is there.
func (n *node) isNews(s *session, f backplane.Fact) bool {
	known, ok := s.known[factKey{f.Kind, f.Name}]
	switch {
	case ok && f.Kind == backplane.FactTopic:
		m, k := membershipOf(f), membershipOf(known)
		return m.op != k.op && m.op != "" && (m.pending || !s.knowsLater(f))
	case ok:
		// The same disconnect may have been known before its place was: that decides.
		return !bytes.Equal(known.Value, f.Value) || known.Version != f.Version && n.isAfter(s, f.Version)
	}
	// What was before the session does not matter, unless it makes it follow a topic.
	return isJoined(f) || f.Kind == backplane.FactTopic && membershipOf(f).pending || n.isAfter(s, f.Version)
}

// isAfter reports whether the place came after the session, as far as can be told:
// this node may have skipped an epoch.
func (n *node) isAfter(s *session, at backplane.Position) bool {
	if at.Epoch == s.joinedAt.Epoch {
		return at.Seq > s.joinedAt.Seq
	}
	i := slices.Index(n.epochs, at.Epoch)
	if i < 0 {
		return s.informed || n.pos.Epoch == at.Epoch
	}
	return i > slices.Index(n.epochs, s.joinedAt.Epoch)
}

// catchUp does to a session what the control entry behind the fact would have done,
// unless it was done. Entries behind a position are yet to be heard, unless they repeat
// what was before it.
func (n *node) catchUp(s *session, f backplane.Fact, at backplane.Position) (joined bool) {
	yetToCome := f.Version.Epoch == at.Epoch && f.Version.Seq > at.Seq && !joinedBy(f, at)
	if f.Kind == backplane.FactMetadata || yetToCome || !n.isNews(s, f) {
		return false
	}
	s.note(f)
	k := key{kindTopic, f.Name}
	switch {
	case f.Kind == backplane.FactDisconnect:
		s.end(disconnected(disconnectReason(f.Value)))
	case isJoined(f):
		if joined = n.subscribe(s, k, n.joinSince(f)); joined {
			n.changed(s)
		}
	case n.unsubscribe(s, k):
		n.changed(s)
	}
	return joined
}

// joinedBy reports whether the client had been joined to the topic at that position.
func joinedBy(f backplane.Fact, at backplane.Position) bool {
	since := membershipOf(f).since
	return isJoined(f) && !since.IsZero() && (since.Epoch != at.Epoch || since.Seq <= at.Seq)
}

// joinSince returns the number from which on a joined topic counts: 0 when the
// join is of another history. A join that is just being made counts from now.
func (n *node) joinSince(f backplane.Fact) uint64 {
	since := membershipOf(f).since
	switch {
	case since.IsZero():
		return n.pos.Seq
	case since.Epoch == n.pos.Epoch:
		return since.Seq
	}
	return 0
}
