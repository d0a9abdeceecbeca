package broker

import (
	"strconv"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/sse"
)

// frame is a run of bytes for sockets, complete blocks of the event stream,
// shared by all sessions that get it and never modified.
type frame struct {
	bytes []byte
	seq   uint64 // place in the log; 0 for what is outside it
	prev  uint64 // the place to go on from when everything before this frame was taken
	id    bool   // an id: line with that place is in it
	event *event // whom it is for; nil for what is the session's own
}

// frame returns the entry as sockets get it. The node's lock is held.
func (e *entry) frame() *frame {
	if e.framed == nil {
		e.framed = newEventFrame(e.prev, e.pos, e.event)
		e.event.block = nil // the bytes live on in the frame alone
	}
	return e.framed
}

// newEventFrame puts the id before the block; an id of the author's own stays as
// it is, and the position follows in a block without data, which browsers remember
// without dispatching anything (WHATWG HTML 9.2.6).
func newEventFrame(prev uint64, pos backplane.Position, e *event) *frame {
	f := &frame{seq: pos.Seq, prev: prev, id: !e.ephemeral, event: e}
	b := make([]byte, 0, len(e.block)+len(e.authorID)+64)
	switch {
	case e.ephemeral:
		b = append(b, e.block...)
	case e.authorID != "":
		b = sse.AppendID(b, e.authorID)
		b = append(b, e.block...)
		b = appendPositionBlock(b, pos)
	default:
		b = appendPosition(b, pos)
		b = append(b, e.block...)
	}
	f.bytes = b
	return f
}

func appendPosition(dst []byte, pos backplane.Position) []byte {
	dst = append(dst, "id: "...)
	return append(pos.Append(dst), '\n')
}

func appendPositionBlock(dst []byte, pos backplane.Position) []byte {
	return append(appendPosition(dst, pos), '\n')
}

func newPositionFrame(pos backplane.Position) *frame {
	return &frame{bytes: appendPositionBlock(nil, pos), seq: pos.Seq, prev: pos.Seq, id: true}
}

// newGreetingFrame is the first thing that a session without a cursor gets.
func newGreetingFrame(pos backplane.Position, retry time.Duration) *frame {
	b := appendRetry(make([]byte, 0, 64), retry)
	return &frame{bytes: appendPositionBlock(b, pos), seq: pos.Seq, id: true}
}

// newFarewellFrame is the last thing that a session gets when its node drains.
func newFarewellFrame(retry time.Duration) *frame {
	return &frame{bytes: append(appendRetry(nil, retry), '\n')}
}

func newResetFrame(event string, pos backplane.Position, reason ResetReason) *frame {
	b := appendPosition(nil, pos)
	b = append(b, "event: "+event+"\ndata: {\"reason\":\""+string(reason)+"\"}\n\n"...)
	return &frame{bytes: b, seq: pos.Seq, id: true}
}

func appendRetry(dst []byte, retry time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, retry.Milliseconds(), 10)
	return append(dst, '\n')
}

// openingFrame is an empty comment.
var openingFrame = &frame{bytes: []byte(":\n\n")}

// heartbeatFrame is a comment, for sessions that are not caught up.
func heartbeatFrame() *frame { return &frame{bytes: sse.HeartbeatEvent{}.Prepare()} }

// ResetReason says why a session could not be served exactly. It is the
// "reason" in the data of the reset event.
type ResetReason string

const (
	// ResetRetention: events after the client's position have been trimmed.
	ResetRetention ResetReason = "retention"
	// ResetHistory: the bus has lost events that it had accepted.
	ResetHistory ResetReason = "history"
	// ResetPosition: the client's Last-Event-ID is not a position of this namespace.
	ResetPosition ResetReason = "position"
)
