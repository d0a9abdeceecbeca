package natsbus

import (
	"context"
	"errors"
	"sync"
	"time"
)

// What a source holds at most that nobody has taken yet.
const (
	sourceMessages = 8192
	sourceBytes    = 8 << 20
)

// source reads a stream from a place on, in order and without a hole, as its
// messages come. It goes on through broken connections, dead servers and
// consumers, until that is impossible.
//
// One goroutine ([source.run]) keeps a consumer on the server, and makes another
// where there is trouble; what comes is checked to continue what came before, and
// waits to be taken.
type source struct {
	log    *busLog
	link   *link
	stream string
	// verdict says what to do when the server does not have the anchor: nil and
	// true to start behind it, an error that is not transient to give up.
	verdict func(context.Context, anchor) (bool, error)
	missing func()     // told when the stream seems to be gone
	kicks   chan error // reasons to drop the present consumer

	mu   sync.Mutex // guards what follows
	room sync.Cond  // signalled when messages were taken, or the consumer changed

	at       anchor // the last message accepted
	seq      uint64 // its sequence
	bare     bool   // the anchor is trimmed: start behind it
	pending  []stored
	size     int
	consumer int           // number of the present consumer
	wake     chan struct{} // has a token when there is something to take
	fresh    time.Time     // when a message was last accepted
	reached  bool          // a consumer has been made
	trouble  error         // why there is no consumer at the moment
	err      error         // why it gave up
}

func (l *busLog) newSource(stream string, at anchor) *source {
	s := &source{log: l, link: l.feed, stream: stream, verdict: l.verdict, missing: l.stream.doubt, at: at, kicks: make(chan error, 1), wake: make(chan struct{}, 1), fresh: time.Now()}
	s.seq, _ = message(at.Seq)
	s.room.L = &s.mu
	return s
}

// signal wakes whoever takes.
func (s *source) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// begin makes the number of the next consumer; what comes from others is no
// longer accepted.
func (s *source) begin() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumer++
	s.room.Broadcast()
	return s.consumer
}

// fail ends the source.
func (s *source) fail(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.consumer++
	s.room.Broadcast()
	s.mu.Unlock()
	s.signal()
}

var errHole = errors.New("natsbus: messages are missing between two that came")

// accept takes a message from a consumer, or from the bridge. It waits while
// there is no room. It returns errHole when the message is not the next one, and
// false when nothing is accepted from that consumer any more.
func (s *source) accept(consumer int, m stored) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.consumer == consumer && (len(s.pending) >= sourceMessages || s.size >= sourceBytes) {
		s.room.Wait()
	}
	if s.consumer != consumer {
		return false, nil
	}
	switch {
	case m.seq <= s.seq:
		return true, nil // the anchor, or before it
	case m.seq != s.seq+1:
		return false, errHole
	}
	if isEpochMark(m.payload) {
		s.log.epochs.doubt()
	}
	s.seq = m.seq
	s.at = anchor{time: m.time}
	s.at.Seq = place(m.seq, 0)
	s.bare = false
	s.pending = append(s.pending, m)
	s.size += len(m.payload) + 64
	s.fresh = time.Now()
	s.trouble = nil
	if len(s.pending) == 1 {
		s.signal()
	}
	return true, nil
}

// restore puts the remaining entries of the first anchor's message before what
// comes: that one was only partly read.
func (s *source) restore(m stored) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, behind := message(s.at.Seq); behind == 0 || s.at.time != 0 {
		s.at.time = m.time
		return
	}
	s.at.time = m.time
	s.at.Seq = place(m.seq, 0)
	s.pending = append(s.pending, m)
	s.signal()
}

// take returns what has come since the last call, and why there will be nothing
// more. All that came is returned before the error.
func (s *source) take() ([]stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.pending
	s.pending, s.size = nil, 0
	s.room.Broadcast()
	if len(out) > 0 {
		return out, nil
	}
	return nil, s.err
}

// state is what a source says of itself.
type sourceState struct {
	seq     uint64
	fresh   time.Time
	reached bool
	waiting bool // there is something to take
	trouble error
}

func (s *source) state() sourceState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sourceState{s.seq, s.fresh, s.reached, len(s.pending) > 0, s.trouble}
}

func (s *source) setTrouble(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err
}

func (s *source) setReached() {
	s.mu.Lock()
	first := !s.reached
	s.reached = true
	s.mu.Unlock()
	if first {
		s.signal()
	}
}

// anchor returns where the next consumer has to begin: at the message of the
// anchor or, where that is trimmed, behind it.
func (s *source) anchor() (at anchor, start uint64, anchored bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seq == 0 || s.bare {
		return s.at, s.seq + 1, false
	}
	return s.at, s.seq, true
}

func (s *source) setBare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bare = true
}

// kick makes the source drop its consumer.
func (s *source) kick(why error) {
	select {
	case s.kicks <- why:
	default:
	}
}
