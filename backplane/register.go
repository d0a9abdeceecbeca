package backplane

import (
	"context"
	"iter"
	"time"
)

// Register is who is connected where, and facts about clients.
//
// A node holds one lease; its sessions count as long as it does. A session
// goes through it like this:
//
//	Update(add) ── live ── Update(end) ──► owed by its node ── Settle ──► gone
//	                 │                                            ▲
//	                 └── node without a lease: Collect ──► owed by the collector
//
// so that for each session exactly one node at a time owes the disconnect
// callback, and that another takes it over when that node dies too.
//
// A node id is unique and is never used again after [ErrSwept] or Release.
type Register interface {
	// Renew takes or renews the lease of a node for ttl. A node whose lease has
	// lapsed gets it back if nobody has begun to collect from it, else
	// ErrSwept, then and for ever: which of the two is decided atomically.
	Renew(ctx context.Context, node string, ttl time.Duration) error

	// Release gives up the lease of a node. What it still has (sessions, debts)
	// is collected by others as soon as they look. It is how a node says goodbye.
	Release(ctx context.Context, node string) error

	// Update registers the sessions in add and ends those in end, all of which
	// are or were sessions of node, in one round trip or few. It needs no lease
	// at the moment of the call, but is ErrSwept, and then does nothing, when the
	// node has been swept.
	//
	// Ending makes of a live session a debt of node, atomically; one that is no
	// longer live is not ended again. A session that is in neither list keeps its
	// state. When the last session of a client ends, the client is [Recent] for
	// Config.ResumeGrace.
	//
	// Adding a session that is live already replaces its record (its topics).
	// A session that has ended can not be added again, settled or not: this is
	// ignored, for Config.RetentionAge at least. Adding comes before ending: a
	// session that is in both lists has joined and ended.
	//
	// A repeated call has the same effect and result as the first.
	Update(ctx context.Context, node string, add []Session, end []string) (UpdateResult, error)

	// Collect makes debts of others debts of node: sessions and debts of nodes
	// that have no lease (from then on they are swept), and clients that have been
	// without a session for Config.ResumeGrace. It returns at most max of
	// them, besides what node owes already, which it does not return. Of several
	// nodes that call it at once each debt goes to one. A live session that is
	// collected ends by that, and the grace of its client begins. A node
	// that has been swept itself gets ErrSwept.
	Collect(ctx context.Context, node string, max int) ([]Debt, error)

	// Settle strikes debts off the list of node, because their callbacks have
	// returned. Debts that node does not owe are ignored.
	Settle(ctx context.Context, node string, debts []Debt) error

	// Sessions returns the live sessions of nodes that hold a lease, those of
	// one client next to each other: of the clients named, or of all if none is
	// named. It reads in pages; a session that comes or goes meanwhile may be missing
	// or included, any other is returned once. The iteration ends after an error.
	// What it returns is not stale: it has every session whose Update
	// had returned before the call.
	Sessions(ctx context.Context, clients ...string) iter.Seq2[Session, error]

	// Presence returns the presence of each client named, in that order, in few
	// round trips. Like Sessions it is not stale.
	Presence(ctx context.Context, clients ...string) ([]Presence, error)

	// Put writes facts. A fact with a version replaces the one that is there
	// unless that one's version is newer: of two versions of one epoch the one
	// with the higher Seq is newer, of two epochs the one that is the present
	// epoch of the log. A fact without a version replaces the value alone and
	// keeps the version, if there is one. Each is forgotten its TTL after it
	// was last put, even when that put was older and changed nothing else.
	Put(ctx context.Context, facts []Fact) error

	// Facts returns what is known of the clients named, in any order. It has
	// every fact whose Put had returned before the call.
	Facts(ctx context.Context, clients ...string) ([]Fact, error)
}

// Session is one connection of a client to a node.
type Session struct {
	ID     string // unique
	Client string
	Node   string // id of the node
	// NodeName is the name that the application gave the node, for people.
	NodeName string
	// Topics that the session follows, in no particular order.
	Topics []string
}

// UpdateResult is the result of [Register.Update].
type UpdateResult struct {
	// Joined lists the clients that were [Absent] before one of the added
	// sessions: it was the first, and is so whenever it is added again. A client
	// that comes back before anybody has collected its ClientLeft has not left,
	// even when its grace is over: it is not listed, and that debt never arises.
	Joined []string
	// Ended are the sessions named in end that the node now owes: those that
	// were live, or that an earlier call ended and that are not settled.
	Ended []Debt
	// Facts are those of the clients of the added sessions, read after these
	// were added.
	Facts []Fact
}

// Debt is a callback that a node has to run: it runs it, then settles it.
type Debt struct {
	Kind DebtKind
	// Session is the session that ended, whole. Of a ClientLeft only
	// Session.Client is set.
	Session Session
}

// DebtKind says what a [Debt] is about.
type DebtKind uint8

const (
	// SessionEnded: a session is no longer connected.
	SessionEnded DebtKind = iota + 1
	// ClientLeft: a client has had no session for Config.ResumeGrace. It is
	// due once each time that a client that was in [UpdateResult.Joined] leaves.
	ClientLeft
)

// Presence says whether a client is connected.
type Presence uint8

const (
	// Absent: the client has no session, and none ended within Config.ResumeGrace.
	Absent Presence = iota
	// Recent: the client has no live session; its last one ended less than
	// Config.ResumeGrace ago, or is one of a node without a lease that has not
	// been collected yet.
	Recent
	// Present: the client has a live session on a node that holds a lease.
	Present
)

// Fact is something that the cluster remembers of a client for a time.
type Fact struct {
	Client string
	Kind   FactKind
	// Name tells facts of one kind apart: the topic of a FactTopic, else empty.
	Name string
	// Value is opaque. It may be empty.
	Value []byte
	// Version is the position of the entry that told the nodes of it; zero
	// before there is one.
	Version Position
	// TTL is how long the fact is kept after it was put. It is not returned by Facts.
	TTL time.Duration
}

// FactKind says what a [Fact] is about.
type FactKind uint8

const (
	FactMetadata   FactKind = iota + 1 // the client's metadata
	FactTopic                          // whether the client was joined to a topic
	FactDisconnect                     // that the client was disconnected
)
