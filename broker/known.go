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

// isNews reports whether the session has not taken the fact into account.
func (s *session) isNews(f backplane.Fact) bool {
	known, ok := s.known[factKey{f.Kind, f.Name}]
	switch {
	case ok && f.Kind == backplane.FactTopic:
		return known.Version != f.Version || isJoined(known) != isJoined(f)
	case ok:
		// The same disconnect may have been known before its place was: that decides.
		return !bytes.Equal(known.Value, f.Value) || known.Version != f.Version && s.isBefore(f.Version)
	}
	// From before the session was: it has come to what it follows in spite of it.
	return isJoined(f) && f.Kind == backplane.FactTopic || s.isBefore(f.Version)
}

// isBefore reports whether the session was there before the place, as far as can be
// told: places of different epochs can not be compared.
func (s *session) isBefore(at backplane.Position) bool {
	return at.Epoch != s.joinedAt.Epoch || at.Seq > s.joinedAt.Seq
}

// catchUp does to a session what the control entry behind the fact would have done,
// unless it was done. Entries behind a position are yet to be heard.
func (n *node) catchUp(s *session, f backplane.Fact, at backplane.Position) (joined bool) {
	if f.Kind == backplane.FactMetadata || f.Version.Epoch == at.Epoch && f.Version.Seq > at.Seq {
		return false
	}
	news := s.isNews(f)
	s.note(f)
	k := key{kindTopic, f.Name}
	switch {
	case !news:
	case f.Kind == backplane.FactDisconnect:
		s.end(disconnected(disconnectReason(f.Value)))
	case isJoined(f):
		joined = n.subscribe(s, k, n.joinSince(f))
	case slices.Contains(s.named, f.Name) && (f.Version.Epoch != s.joinedAt.Epoch || f.Version.Seq <= s.joinedAt.Seq):
		// It named the topic after that.
	case n.unsubscribe(s, k):
		n.changed(s)
	}
	if joined {
		n.changed(s)
	}
	return joined
}

// joinSince returns the number from which on a joined topic counts: 0 when the
// join is of another history. A join that is just being made counts from now.
func (n *node) joinSince(f backplane.Fact) uint64 {
	since := joinedSince(f)
	switch {
	case since.IsZero():
		return n.pos.Seq
	case since.Epoch == n.pos.Epoch:
		return since.Seq
	}
	return 0
}
