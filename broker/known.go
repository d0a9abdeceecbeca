package broker

import (
	"bytes"
	"maps"
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

// noteOwn remembers where the connection has joined or left topics itself: what the
// log says behind that counts again, also what the session knew of beforehand.
func (s *session) noteOwn(topics []string, at backplane.Position) {
	for _, topic := range topics {
		known := membershipOf(s.known[factKey{backplane.FactTopic, topic}])
		s.note(backplane.Fact{
			Client: s.client, Kind: backplane.FactTopic, Name: topic,
			Value: membership{own: true, op: known.op}.encode(), Version: at,
		})
	}
}

// knowsLater reports whether the session has taken something into account that was
// decided later than the fact, or the fact itself.
func (n *node) knowsLater(s *session, f backplane.Fact) bool {
	known, ok := s.known[factKey{f.Kind, f.Name}]
	return ok && (known.Version == f.Version || n.later(known.Version, f.Version))
}

// isNews reports whether the session has not taken the fact into account. That the
// client was absent is none for a session that is there.
func (n *node) isNews(s *session, f backplane.Fact) bool {
	known, ok := s.known[factKey{f.Kind, f.Name}]
	switch {
	case f.Kind == backplane.FactDisconnect && len(f.Value) == 0:
		return true // its entry may have been missed
	case ok && f.Kind == backplane.FactTopic:
		m, k := membershipOf(f), membershipOf(known)
		switch {
		case m.op == "" || m.op == k.op && (m.pending || !k.own):
			return false
		case m.pending:
			return true
		}
		return !n.knowsLater(s, f)
	case ok:
		// The same disconnect may have been known before its place was, or before it
		// could be compared: that decides.
		return !bytes.Equal(known.Value, f.Value) || n.isAfter(s, f.Version)
	case s.informed && f.Kind != backplane.FactTopic:
		return true // the register had nothing when the session came
	}
	// What was before the session does not matter, unless it makes it follow a topic.
	return isJoined(f) || f.Kind == backplane.FactTopic && membershipOf(f).pending || n.isAfter(s, f.Version)
}

// isAfter reports whether the place came after the session. An epoch that the node
// has not been in may have been skipped: then it did.
func (n *node) isAfter(s *session, at backplane.Position) bool {
	if at.Epoch != s.joinedAt.Epoch && !slices.Contains(n.epochs, at.Epoch) {
		return !at.IsZero()
	}
	return n.later(at, s.joinedAt)
}

// later reports whether what has the version a was decided after what has the
// version b, as far as this node can tell. A number that was given out again, after the bus
// had lost what stood there, is not later.
func (n *node) later(a, b backplane.Position) bool {
	switch {
	case a.Epoch == b.Epoch:
		return a.Seq > b.Seq
	case n.ahead[a.Epoch] || n.ahead[b.Epoch]:
		return !n.ahead[b.Epoch]
	}
	return slices.Index(n.epochs, a.Epoch) > slices.Index(n.epochs, b.Epoch)
}

// unplaced reports whether facts are from an epoch of which the node can not tell
// whether it is yet to come to it, or has never been in it because it is newer itself.
func (n *node) unplaced(facts []backplane.Fact) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(facts, n.isUnplaced)
}

func (n *node) isUnplaced(f backplane.Fact) bool {
	return !f.Version.IsZero() && !n.ahead[f.Version.Epoch] && !slices.Contains(n.epochs, f.Version.Epoch)
}

// placeEpochs takes note of the epochs of facts; present is the one that the bus was in
// after they were read.
func (n *node) placeEpochs(facts []backplane.Fact, present string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	past := slices.Contains(n.epochs, present)
	for _, f := range facts {
		switch {
		case !n.isUnplaced(f):
		case !past:
			n.ahead[f.Version.Epoch] = true
		case len(n.epochs) < maxEpochs:
			n.epochs = slices.Insert(n.epochs, 0, f.Version.Epoch)
		}
	}
}

// isPast reports whether the epoch is older than the node's.
func (n *node) isPast(epoch string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return epoch != n.pos.Epoch && slices.Contains(n.epochs, epoch)
}

// notSeen returns the epochs that the node has heard of, from these facts or from earlier
// ones, and has not been in.
func (n *node) notSeen(facts []backplane.Fact) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	epochs := slices.Collect(maps.Keys(n.ahead))
	for _, f := range facts {
		if n.isUnplaced(f) {
			epochs = append(epochs, f.Version.Epoch)
		}
	}
	slices.Sort(epochs)
	return slices.Compact(epochs)
}

// enter notes that the node moves to an epoch, which may be its own, and has skipped others.
func (n *node) enter(epoch string, skipped []string) {
	known := func(e string) bool { return e == epoch || slices.Contains(n.epochs, e) }
	delete(n.ahead, epoch)
	for _, e := range skipped {
		delete(n.ahead, e)
	}
	skipped = slices.DeleteFunc(skipped, known)
	if epoch == n.epochs[len(n.epochs)-1] {
		n.epochs = append(skipped, n.epochs...)
	} else {
		n.epochs = append(append(n.epochs, skipped...), epoch)
	}
	n.epochs = n.epochs[max(0, len(n.epochs)-maxEpochs):]
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
