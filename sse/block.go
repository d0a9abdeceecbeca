package sse

import (
	"bytes"
	"fmt"
)

// Block is an event encoded once, to be written to any number of readers. Whoever writes it may put an id line of its
// own before the bytes (AppendID).
type Block struct {
	// ID is the id that the author gave the event, valid UTF-8 without line breaks and NUL; empty if there is none.
	ID string
	// Event is the event type; empty if there is none.
	Event string
	// Bytes is the whole block without any id line. It ends in the blank line, is never empty, and satisfies ValidBlock.
	Bytes []byte
	// HasData tells that a browser would dispatch the block. Without data only its id, retry and comments count.
	HasData bool
}

// NewBlock encodes an event. The block keeps nothing of the event: Bytes is new, and Data of a JsonEvent is marshalled
// here.
//
// It refuses what cannot be written faithfully: see ErrNilEvent and the errors beside it. Invalid UTF-8 is written as
// U+FFFD. Data and comments of several lines become several lines of the block.
//
// An Event of a type that is not of this package is taken by what its Prepare returns: at most one event with data,
// besides any number of comments, ids and reconnection times, of which the last counts. Fields that the standard does not
// know are dropped. A panic in Prepare is an error here.
func NewBlock(e Event) (Block, error) {
	switch e := e.(type) {
	case nil:
		return Block{}, ErrNilEvent
	case StringEvent:
		return e.block()
	case *StringEvent:
		if e == nil {
			return Block{}, ErrNilEvent
		}
		return e.block()
	case *JsonEvent:
		return e.block()
	case Message:
		return e.block()
	case *Message:
		if e == nil {
			return Block{}, ErrNilEvent
		}
		return e.block()
	case HeartbeatEvent, *HeartbeatEvent:
		return Block{Bytes: []byte(heartbeat)}, nil
	}
	return foreignBlock(e)
}

func foreignBlock(e Event) (Block, error) {
	raw, err := callPrepare(e)
	if err != nil {
		return Block{}, err
	}
	var f fields
	d := NewDecoder(bytes.NewReader(raw), WithLimits(len(raw)+1, len(raw)+1), WithCommentHook(func(c string) {
		if f.hasComment {
			c = f.comment + "\n" + c
		}
		f.comment, f.hasComment = c, true
	}))
	for {
		m, err := d.Next()
		if err != nil {
			break
		}
		if f.hasData {
			return Block{}, fmt.Errorf("%w: %T gave more than one", ErrPrepare, e)
		}
		f.event, f.data, f.hasData = m.Event, m.Data, true
	}
	if d.unfinished() {
		return Block{}, fmt.Errorf("%w: %T gave no blank line at the end", ErrPrepare, e)
	}
	f.id = d.LastEventID()
	f.retry, _ = d.Retry()
	b, err := f.block()
	if err != nil {
		return Block{}, fmt.Errorf("%T: %w", e, err)
	}
	return b, nil
}

func callPrepare(e Event) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %T panicked: %v", ErrPrepare, e, p)
		}
	}()
	return e.Prepare(), nil
}

// AppendID appends an id line. The id must be without CR, LF and NUL, as Block.ID is.
func AppendID(dst []byte, id string) []byte {
	dst = append(dst, "id: "...)
	dst = append(dst, id...)
	return append(dst, '\n')
}

// appendBlock appends the block with its author's id.
func appendBlock(dst []byte, b Block) []byte {
	if b.ID == "" {
		return append(dst, b.Bytes...)
	}
	dst = AppendID(dst, b.ID)
	if string(b.Bytes) == emptyBlock {
		return append(dst, '\n')
	}
	return append(dst, b.Bytes...)
}

// ValidBlock tells whether bytes that came from elsewhere have the form of Block.Bytes: one block, ending in its only
// blank line, of comments, then at most one retry line, then at most one event line, then data lines; no CR and no id
// line. So nobody who can write to a bus can end the event early, add another or forge an id. It does not look for
// invalid UTF-8, which can do none of this. It allocates nothing and reads b about twice.
func ValidBlock(b []byte) bool {
	if len(b) < len(emptyBlock) || bytes.IndexByte(b, '\r') >= 0 {
		return false
	}
	line, rest := cutLine(b)
	for len(line) > 0 && line[0] == ':' {
		line, rest = cutLine(rest)
	}
	if value, ok := cutField(line, "retry: "); ok {
		if len(value) == 0 || !onlyDigits(value) {
			return false
		}
		line, rest = cutLine(rest)
	}
	value, typed := cutField(line, "event: ")
	if typed {
		if len(value) == 0 {
			return false
		}
		line, rest = cutLine(rest)
	}
	_, data := cutField(line, "data: ")
	if typed && !data {
		return false
	}
	for data {
		line, rest = cutLine(rest)
		_, data = cutField(line, "data: ")
	}
	// cutLine returns nil when there is no further LF, so an empty line here was really there.
	return line != nil && len(line) == 0 && len(rest) == 0 && b[0] != '\n'
}

// cutLine returns the bytes before the first LF and those after it, or nils.
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return nil, nil
	}
	return b[:i:i], b[i+1:]
}

func cutField(line []byte, name string) ([]byte, bool) {
	if len(line) < len(name) || string(line[:len(name)]) != name {
		return nil, false
	}
	return line[len(name):], true
}

func onlyDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
