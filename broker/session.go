package broker

import (
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// state is where a session stands towards the log of its node. The states and
// the ways between them are drawn in docs/ARCHITECTURE.md.
type state uint8

const (
	// stateLive: caught up; the node's feed puts frames into the queue.
	stateLive state = iota
	// stateBehind: the cursor is in the window; the queue is filled from there
	// when the socket has taken all of it.
	stateBehind
	// stateScan: the cursor is older than the window; the scan fills the queue.
	stateScan
	// stateAhead: the cursor is behind the end of the log as this node knows it.
	stateAhead
	// stateForeign: the cursor's epoch is not the node's; the bus is being asked.
	stateForeign
	// stateReset: a reset is due; until it is written there are no events.
	stateReset
	// stateEnded: no more frames.
	stateEnded
)

// What a session's queue holds at most, unless the configuration says otherwise. One
// that would hold more is let go, and the session falls back to its cursor.
const (
	defaultQueueFrames = 128
	defaultQueueBytes  = 256 << 10
	keepQueue          = 64 // capacity that an empty queue keeps
	maxDirect          = 128
)

// session is one connection: a cursor into the log, and a short queue of
// frames for its socket. The node moves the cursor, the socket takes the frames.
type session struct {
	id, client string
	node       *node
	socket     socket
	interval   time.Duration      // between heartbeats
	joinedAt   backplane.Position // where the node was before the client was identified
	life       int                // of the node, likewise
	resumed    string             // the Last-Event-ID that it came with
	expires    time.Time
	reauth     *reauthorization

	// Guarded by the node's lock.
	subs      []subscription
	state     state
	cursor    backplane.Position         // where stateBehind, -Scan, -Ahead, -Foreign go on
	named     []string                   // topics, at connect
	known     map[factKey]backplane.Fact // of its client, taken into account; nil: none
	informed  bool                       // the register has answered: known had all that there was
	began     uint64                     // where the cursor was at first
	asked     bool                       // stateAhead: the log is known to reach the cursor
	passedBy  backplane.Position         // stateForeign: where its node has started over meanwhile
	lenient   bool                       // what has been trimmed was not asked for
	notBefore time.Time                  // entries older than this, up to placedAt, do not count
	placedAt  uint64
	resetAt   time.Time
	reset     ResetReason
	stamp     uint64 // of the last event put into the queue
	index     int    // in node.sessions
	reserved  bool   // counts towards the limits

	mu         sync.Mutex // after the node's lock; guards the rest
	direct     []*frame   // outside the log: greeting, Send
	queue      []*frame   // in log order
	queueBytes int
	wantsMore  bool // the node or the scan has more when the queue is empty
	ended      bool
	err        error
	takenAt    time.Time // when frames were last taken
	takenSeq   uint64    // everything of the log up to here has been taken
	idAt       time.Time // when an id was last taken
	idSeq      uint64    // the last id taken

	done chan struct{} // closed when the socket is done with
}

// offer puts a frame of the feed into the queue. It reports false when there is no
// room; the queue is then let go, and from is where the session must go on.
// The node's lock is held.
func (s *session) offer(f *frame) (ok bool, from uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return true, 0
	}
	if n := len(s.queue); n > 0 && (n >= s.node.queueFrames || s.queueBytes+len(f.bytes) > s.node.queueBytes) {
		if f.event != nil && f.event.ephemeral {
			return true, 0 // for those who keep up
		}
		from = max(s.queue[0].prev, s.takenSeq)
		s.letGo()
		s.wantsMore = true
		return false, from
	}
	s.push(f)
	return true, 0
}

// push appends to the queue and wakes the socket if it may be asleep.
func (s *session) push(f *frame) {
	s.queue = append(s.queue, f)
	s.queueBytes += len(f.bytes)
	if len(s.queue) == 1 {
		s.socket.wake()
	}
}

// fill puts frames into the queue of a session that is catching up, and says
// whether there is more to come when it has taken them.
func (s *session) fill(frames []*frame, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	for _, f := range frames {
		s.queue = append(s.queue, f)
		s.queueBytes += len(f.bytes)
	}
	s.wantsMore = more
	if len(frames) > 0 || more {
		s.socket.wake()
	}
}

// letGo empties the queue.
func (s *session) letGo() {
	clear(s.queue)
	s.queue = s.queue[:0]
	s.queueBytes = 0
}

// sendDirect queues a frame outside the log.
func (s *session) sendDirect(f *frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended && s.err != nil:
		return s.err
	case s.ended:
		return ErrClosed
	case len(s.direct) >= maxDirect:
		return ErrSlowSession
	}
	s.direct = append(s.direct, f)
	s.socket.wake()
	return nil
}

// take moves what is queued to dst, for the socket to write, in order. It
// reports false when the session has ended and nothing is left.
func (s *session) take(dst []*frame) ([]*frame, bool) {
	for {
		s.mu.Lock()
		n := len(dst)
		dst = append(dst, s.direct...)
		dst = append(dst, s.queue...)
		ended, wantsMore := s.ended, s.wantsMore
		if len(dst) > n {
			s.taken(dst[n:])
		}
		s.wantsMore = wantsMore && len(dst) > n
		s.mu.Unlock()
		if len(dst) > n || ended {
			return dst, len(dst) > n || !ended
		}
		if !wantsMore {
			return dst, true
		}
		if !s.node.refill(s) {
			return dst, true
		}
	}
}

// taken notes that frames have left the queues for the socket.
func (s *session) taken(frames []*frame) {
	s.takenAt = time.Now()
	for _, f := range frames {
		if f.seq != 0 {
			s.takenSeq = f.seq
		}
		if f.id {
			s.idAt, s.idSeq = s.takenAt, f.seq
		}
	}
	clear(s.direct)
	s.direct = s.direct[:0]
	if cap(s.direct) > 4 {
		s.direct = nil
	}
	s.letGo()
	if cap(s.queue) > keepQueue {
		s.queue = nil
	}
}

// idle reports whether the queues are empty, and since when.
func (s *session) idle() (empty bool, takenAt, idAt time.Time, idSeq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) == 0 && len(s.direct) == 0 && !s.wantsMore, s.takenAt, s.idAt, s.idSeq
}

// end closes the session for a reason: what is queued directly, and last, is
// still written, events are not. Only the first call counts.
func (s *session) end(err error, last ...*frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended, s.err = true, err
	s.letGo()
	s.direct = append(s.direct, last...)
	s.socket.wake()
}

// abandon is end for a session whose socket is of no use any more.
func (s *session) abandon(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended, s.err = true, err
	}
	s.letGo()
	s.direct = nil
}

func (s *session) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// dropUnwanted takes out of the queue what is for topics that the session has
// left. The node's lock is held.
func (s *session) dropUnwanted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.queue[:0]
	s.queueBytes = 0
	for _, f := range s.queue {
		if f.event == nil || s.follows(f.event.to) {
			kept = append(kept, f)
			s.queueBytes += len(f.bytes)
		}
	}
	clear(s.queue[len(kept):])
	s.queue = kept
}

// follows reports whether the session is in the audience.
func (s *session) follows(to Audience) bool {
	if to.kind == kindEveryone {
		return true
	}
	for _, name := range to.names {
		if s.subscription(key{to.kind, name}) != nil {
			return true
		}
	}
	return false
}

// gets reports whether the session, being in its audience, gets the entry.
func (s *session) gets(e *entry) bool {
	return !e.event.leavesOut(s.id) && (e.pos.Seq > s.placedAt || !e.time.Before(s.notBefore))
}

// startOver empties the queue and puts a reset before everything that follows.
func (s *session) startOver(reset *frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.letGo()
	s.wantsMore = false
	s.takenSeq = reset.seq
	s.direct = append(s.direct, reset)
	s.socket.wake()
}

// fallSilent empties the queue until something is put into it again.
func (s *session) fallSilent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.letGo()
	s.wantsMore = false
}

// setTaken says that the session needs nothing up to seq.
func (s *session) setTaken(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takenSeq = seq
}
