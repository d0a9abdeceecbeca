package backplane

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Errors that the methods of [Backplane] and [Log] return, for errors.Is.
var (
	// ErrTrimmed: entries behind the position asked for have been trimmed.
	ErrTrimmed = errors.New("backplane: the log has been trimmed past this position")
	// ErrEpoch: the history that the position belongs to is gone, wholly or in
	// part: the namespace has another epoch, or the log ends before the position,
	// or has another entry there. The zero Position belongs to no history.
	ErrEpoch = errors.New("backplane: this history is gone")
	// ErrOldBatch: the producer has published a batch with a higher number.
	ErrOldBatch = errors.New("backplane: batch number is older than the producer's last")
	// ErrSwept: the node had no lease and its sessions have been taken from it.
	ErrSwept = errors.New("backplane: the node has been swept")
	// ErrTooLarge: the bus cannot hold an entry of that size. Nothing was
	// appended, and a retry cannot help.
	ErrTooLarge = errors.New("backplane: entry is larger than the bus accepts")
	// ErrClosed: the log has been closed.
	ErrClosed = errors.New("backplane: closed")
)

// Backplane is a bus that brokers can meet on.
//
// It is safe for concurrent use, and may be shared by any number of brokers.
type Backplane interface {
	// Open returns the log of a namespace as one node sees and writes it. It
	// checks the configuration, and may reach the bus or leave that to the
	// first call that needs it; when the bus does not answer it returns the error of
	// the bus, and may be called again. Resources that Open takes are released by
	// [Log.Close]; whatever the application gave to the backplane's constructor
	// stays the application's.
	Open(ctx context.Context, cfg Config) (Log, error)
}

// Config is what the broker decides about a namespace. All nodes of a
// namespace should agree on it; where they do not, the one that wrote last is right.
type Config struct {
	// Namespace keeps one application's entries apart from others on the bus.
	Namespace string
	// RetentionAge is how long entries are kept, by the clock of the bus.
	RetentionAge time.Duration
	// RetentionBytes is how much is kept: the sum of len(Message.Data) and of a
	// constant overhead per entry that is the backplane's to state. The oldest
	// entries go first. The newest entry is never trimmed.
	RetentionBytes int64
	// IdempotencyWindow is how long, at least, a [Message.Key] is remembered.
	IdempotencyWindow time.Duration
	// ResumeGrace is how long a client whose last session has ended counts as
	// [Recent]: after that it is a [Debt] of kind [ClientLeft].
	ResumeGrace time.Duration
}

// Validate returns an error that names the first field with a bad value.
func (c Config) Validate() error {
	if err := ValidName(c.Namespace); err != nil {
		return fmt.Errorf("backplane: namespace: %w", err)
	}
	switch {
	case c.RetentionAge <= 0:
		return fmt.Errorf("backplane: retention age %v is not positive", c.RetentionAge)
	case c.RetentionBytes <= 0:
		return fmt.Errorf("backplane: retention of %d bytes is not positive", c.RetentionBytes)
	case c.IdempotencyWindow <= 0:
		return fmt.Errorf("backplane: idempotency window %v is not positive", c.IdempotencyWindow)
	case c.ResumeGrace < 0:
		return fmt.Errorf("backplane: resume grace %v is negative", c.ResumeGrace)
	}
	return nil
}

// MaxNameLen is the longest name of a namespace, client, topic or session, in bytes.
const MaxNameLen = 1024

// ValidName returns an error unless name is valid UTF-8 of 1 to [MaxNameLen] bytes.
func ValidName(name string) error {
	switch {
	case name == "":
		return errors.New("name is empty")
	case len(name) > MaxNameLen:
		return fmt.Errorf("name of %d bytes is longer than %d", len(name), MaxNameLen)
	case !utf8.ValidString(name):
		return errors.New("name is not valid UTF-8")
	}
	return nil
}

// Log is the log and the register of one namespace, as one node sees them.
// Its methods are safe for concurrent use. Each of them that takes a context
// returns when the context ends, at the latest.
type Log interface {
	Register

	// Publish appends the messages of one batch, in order and next to each other
	// in the log, or at least in order where the bus cannot do the former, and
	// returns the position of each.
	//
	// A batch is identified by its producer and number. Repeated with the same
	// content it returns the same positions and appends nothing, whatever became
	// of the reply to the first call. A number lower than the producer's last is
	// ErrOldBatch, never success. A producer's numbers start at 1. The bus
	// remembers a producer for at least Config.RetentionAge after its last batch.
	//
	// A message whose Key was accepted within Config.IdempotencyWindow, from any
	// producer or earlier in this batch, is not appended: its place in the result
	// is the position of the first one.
	//
	// The broker has one call per producer under way at a time. A nil error means
	// that the bus accepted all; after an error any or all of it may have been.
	Publish(ctx context.Context, b Batch) ([]Position, error)

	// Follow calls to.Page with every entry behind after, in order, page by page,
	// and goes on with new ones as they come, until ctx ends (it returns ctx's
	// error), the log is closed (ErrClosed), or it cannot go on: ErrTrimmed, ErrEpoch.
	// The first page's After is after; each further page's After is the Upto of
	// the one before. It reconnects by itself, and tells to.Link within
	// 2 seconds that it is cut off from the bus or that the server that it reads
	// from is stale, and when it is back.
	//
	// Follow calls the follower from one goroutine at a time, and reads no
	// further while a call has not returned.
	Follow(ctx context.Context, after Position, to Follower) error

	// Read returns the entries behind after, as many as fit into maxBytes (the
	// sum of len(Data)), but at least one if there is one. A page without entries
	// whose Upto is after means that there is nothing behind it. ErrTrimmed, ErrEpoch
	// as for Follow. A page may be stale (behind the newest entries), never wrong.
	Read(ctx context.Context, after Position, maxBytes int) (Page, error)

	// Tail returns the newest entries, in order, as many as fit into maxBytes
	// (the sum of len(Data)), possibly none. Following from its Upto continues it.
	Tail(ctx context.Context, maxBytes int) (Page, error)

	// Bounds returns where the log begins and ends. It comes from the leader of
	// the bus and is never stale: it covers every entry accepted before the call.
	// The first call in a namespace creates its first epoch.
	Bounds(ctx context.Context) (Bounds, error)

	// NewEpoch declares that history is gone: if the epoch of the namespace is
	// still old it becomes a new one, and the present end of the log is recorded as
	// Bounds.Began. Of several callers with the same old one succeeds; all of
	// them get the bounds after the change. A follower of the old epoch gets
	// ErrEpoch, within 2 seconds at the latest.
	NewEpoch(ctx context.Context, old string) (Bounds, error)

	// Close releases what Open took and ends everything under way with
	// ErrClosed. It waits for it until ctx ends. The register and the log stay as they
	// are. A second Close does nothing.
	Close(ctx context.Context) error
}

// Batch is what one node publishes in one round trip.
type Batch struct {
	// Producer is the publishing node: unique, never used again by another.
	Producer string
	// Number orders the batches of a producer.
	Number uint64
	// Messages become entries, in this order. Not empty.
	Messages []Message
}

// Message is an entry to be.
type Message struct {
	// Key makes the message idempotent, unless it is empty. It is at most 64
	// bytes of [0-9A-Za-z_-], made by the broker from the audience and the
	// application's key.
	Key string
	// Data is opaque to the bus. It is not retained after Publish has returned.
	// It may be empty or nil, and then comes back as empty, never as nil.
	Data []byte
}

// Entry is one element of the log.
type Entry struct {
	Position Position
	// Time is when the bus accepted the entry, by the clock of the bus.
	Time time.Time
	// Data is what was published, shared and never to be modified, or nil where
	// the bus holds something that no node of this library has written: such an
	// entry has a place in the log and nothing else.
	Data []byte
}

// Page is a run of the log without a hole: it holds every entry behind After
// up to and including Upto.
type Page struct {
	After Position
	// Upto is the position of the last entry, or behind it where the bus keeps
	// marks of its own in the log; it is After where there is nothing behind After.
	Upto    Position
	Entries []Entry
	// Now is the time of the bus when the page was read, as well as the
	// backplane knows it.
	Now time.Time
}

// Bounds says where a log begins and ends.
type Bounds struct {
	// Epoch is the present epoch; all positions below belong to it.
	Epoch string
	// Began is the end of the log when the epoch began: nothing at or before it
	// belongs to the epoch.
	Began Position
	// First is the position behind which every entry of the epoch is still in
	// the log: that of the predecessor of the first entry retained.
	First Position
	// Last is the end of the log.
	Last Position
}

// Follower takes what [Log.Follow] delivers.
type Follower interface {
	// Page takes the next page. Its slices are the follower's to keep.
	Page(p Page)
	// Link tells whether the follower is in touch with the bus: nil when it is
	// (again), else why not. Follow calls it at least once, with nil when it has
	// first reached the bus, and then on each change.
	Link(err error)
}
