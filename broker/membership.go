package broker

import (
	"github.com/sseplane/sseplane/backplane"
)

// membership is the value of a FactTopic: whether a client follows a topic.
type membership struct {
	joined  bool
	pending bool // the nodes may not have been told yet
	own     bool // a connection's own doing; only ever in session.known
	// op is the call that decided it; empty: the client's absence did.
	op string
	// since is the position from which on the client follows the topic; zero: not known.
	// (The fact's version is that of the last join, which may have changed nothing.)
	since backplane.Position
}

const (
	flagJoined  = 1
	flagPending = 2
	flagOwn     = 4
)

// opNonce is the length of what tells one Join, Leave or Disconnect from another.
const opNonce = 8

func (m membership) encode() []byte {
	value := make([]byte, 1, 64)
	if m.joined {
		value[0] |= flagJoined
	}
	if m.pending {
		value[0] |= flagPending
	}
	if m.own {
		value[0] |= flagOwn
	}
	value = appendBytes(value, m.op)
	if !m.since.IsZero() {
		value = m.since.Append(value)
	}
	return value
}

// membershipOf reads the value of a fact. One that can not be read says that the
// client does not follow the topic.
func membershipOf(f backplane.Fact) (m membership) {
	r := reader{rest: f.Value}
	flags := r.byte()
	m.joined, m.pending, m.own = flags&flagJoined != 0, flags&flagPending != 0, flags&flagOwn != 0
	m.op = string(r.bytes())
	if r.bad {
		return membership{}
	}
	if m.joined {
		m.since, _ = backplane.ParsePosition(string(r.rest))
	}
	return m
}

// joinedAgain returns what a join at pos makes of the membership: who has joined
// already goes on from where that was.
func (m membership) joinedAgain(op string, pos backplane.Position) membership {
	since := m.since
	if !m.joined || since.IsZero() {
		since = pos
	}
	return membership{joined: true, op: op, since: since}
}

// saysMore reports whether a, of the same version as b, knows of an earlier join.
func (m membership) saysMore(b membership, version backplane.Position) bool {
	a := m.since
	return !a.IsZero() && (b.since.IsZero() ||
		a.Epoch != b.since.Epoch && a.Epoch != version.Epoch ||
		a.Epoch == b.since.Epoch && a.Seq < b.since.Seq)
}

func isJoined(f backplane.Fact) bool { return f.Kind == backplane.FactTopic && membershipOf(f).joined }

// newOp returns what tells this call from all others.
func newOp() string { return string(randomBytes(opNonce)) }
