package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/sse"
)

// The format of an entry's data, the same on every bus:
//
//	magic, version, type
//	event:   flags, audience kind, names, except, author's id, block
//	control: operation, client, names, value
//
// where a list of names is a count and strings, and a string or a block is a
// length and bytes; counts and lengths are unsigned varints.
const (
	entryMagic   = 0xE5
	entryVersion = 1

	typeEvent   = 1
	typeControl = 2

	flagEphemeral = 1
)

// entryOverhead is what the window counts for an entry besides its data: the
// structures and index places that it takes in memory, roughly.
const entryOverhead = 256

// operation is what a control entry does to the sessions of a client.
type operation uint8

const (
	opDisconnect operation = iota + 1
	opJoin
	opLeave
	opMetadata
)

// control is an entry that no client ever sees.
type control struct {
	op     operation
	client string
	topics []string // of opJoin and opLeave
	value  []byte   // the JSON of opMetadata; else a nonce, and the reason of opDisconnect behind it
}

// event is an entry for sessions.
type event struct {
	to        Audience
	except    string // sessions that do not get it, with a separator between them
	ephemeral bool
	authorID  string
	block     []byte // as of sse.Block
}

// exceptSeparator is in no session's id.
const exceptSeparator = " "

// leavesOut reports whether the session does not get the event.
func (e *event) leavesOut(session string) bool {
	if len(e.except) <= len(session) {
		return e.except == session
	}
	for id := range strings.SplitSeq(e.except, exceptSeparator) {
		if id == session {
			return true
		}
	}
	return false
}

// entry is one entry of the log as this node keeps it.
type entry struct {
	pos  backplane.Position
	prev uint64 // the place before it
	time time.Time
	size int
	// At most one of the two; neither is a mark: a place in the log and nothing
	// else, such as a foreign entry.
	event   *event
	control *control
	// framed is what sockets are given, made when first needed. The node's lock
	// guards it.
	framed *frame
	// ambiguous: an earlier event of the window had the same author's id.
	ambiguous bool
}

var errMalformedEntry = errors.New("broker: malformed entry")

func encodeEvent(e event) []byte {
	n := 16 + len(e.except) + len(e.authorID) + len(e.block)
	for _, name := range e.to.names {
		n += len(name) + 2
	}
	var flags byte
	if e.ephemeral {
		flags |= flagEphemeral
	}
	dst := append(make([]byte, 0, n), entryMagic, entryVersion, typeEvent, flags, byte(e.to.kind))
	dst = appendStrings(dst, e.to.names)
	dst = appendBytes(dst, e.except)
	dst = appendBytes(dst, e.authorID)
	return appendBytes(dst, e.block)
}

func encodeControl(c control) []byte {
	dst := []byte{entryMagic, entryVersion, typeControl, byte(c.op)}
	dst = appendBytes(dst, c.client)
	dst = appendStrings(dst, c.topics)
	return appendBytes(dst, c.value)
}

func appendStrings(dst []byte, list []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, s := range list {
		dst = appendBytes(dst, s)
	}
	return dst
}

func appendBytes[T string | []byte](dst []byte, b T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// decodeEntry reads an entry of the log. It keeps references to its data. A
// malformed or foreign entry comes back as a mark together with an error; an
// entry of a newer version is ErrIncompatible.
func decodeEntry(in backplane.Entry) (*entry, error) {
	e := &entry{pos: in.Position, time: in.Time, size: len(in.Data) + entryOverhead}
	r := reader{rest: in.Data}
	if r.byte() != entryMagic {
		e.size = entryOverhead
		return e, errMalformedEntry
	}
	if version := r.byte(); version > entryVersion {
		return e, fmt.Errorf("%w: version %d at %v", ErrIncompatible, version, in.Position)
	}
	switch r.byte() {
	case typeEvent:
		var ev event
		ev.ephemeral = r.byte()&flagEphemeral != 0
		ev.to.kind = kind(r.byte())
		ev.to.names = r.strings()
		ev.except = string(r.bytes())
		ev.authorID = string(r.bytes())
		ev.block = r.bytes()
		if r.done() && ev.to.validate() == nil && sse.ValidBlock(ev.block) && validID(ev.authorID) {
			e.event = &ev
			return e, nil
		}
	case typeControl:
		c := control{op: operation(r.byte()), client: string(r.bytes()), topics: r.strings(), value: r.bytes()}
		if r.done() && c.op >= opDisconnect && c.op <= opMetadata && c.client != "" {
			e.control = &c
			return e, nil
		}
	}
	e.size = entryOverhead
	return e, errMalformedEntry
}

// validID reports whether an author's id can be written as it is, without
// adding a line, and without being taken for a position.
func validID(id string) bool {
	for i := range len(id) {
		if id[i] == '\n' || id[i] == '\r' || id[i] == 0 {
			return false
		}
	}
	_, err := backplane.ParsePosition(id)
	return err != nil
}

// reader takes values off the front of rest. After the first that is not
// there, everything it returns is empty, and done is false.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) done() bool { return !r.bad && len(r.rest) == 0 }

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) length() int {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > uint64(len(r.rest)-size) {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return int(n)
}

func (r *reader) bytes() []byte {
	n := r.length()
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) strings() []string {
	n := r.length() // each string takes a byte at least, so n is bounded
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = string(r.bytes())
	}
	return list
}
