package natsbus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// A message of the log holds a run of entries of one batch: what is in one
// message is stored or not stored as a whole, in order and without a
// neighbour, whatever happens to the server meanwhile.
//
// The entries of the message with stream sequence s have the numbers up to
// s<<seqShift, which is the last one's. So a position says at once which message
// it is in and how many entries of it come behind.
const (
	seqShift   = 12
	maxEntries = 1 << seqShift // in a message
)

// place returns the number of the entry of message seq that has behind entries
// of the message behind it.
func place(seq uint64, behind int) uint64 { return seq<<seqShift - uint64(behind) }

// message is the inverse of place.
func message(number uint64) (seq uint64, behind int) {
	seq = number >> seqShift
	if behind = int(-number % maxEntries); behind > 0 {
		seq++
	}
	return seq, behind
}

type frameKind byte

const (
	frameBatch frameKind = iota + 1 // entries
	frameBeat                       // nothing
	frameEpoch                      // nothing; an epoch may begin here
)

// frame is the payload of a message of the log.
type frame struct {
	kind frameKind
	// tag tells this message from any other that a restored store may give the
	// same sequence to. It follows from who published what, so that the publisher
	// knows it without having read the message.
	tag uint16
	// number and part are the batch's number and which part of it this is.
	number uint64
	part   uint64
	data   [][]byte
}

// frameMagic opens a frame, its last byte being the version of the format.
var frameMagic = [4]byte{'s', 's', 'e', 1}

var (
	errForeign = errors.New("natsbus: not a message of this library")
	errVersion = errors.New("natsbus: message of a newer version of this library")
)

// frameOverhead is an upper bound of what a frame adds to the data of its
// entries, besides entryOverhead for each.
const (
	frameOverhead = 4 + 1 + 2 + 3*binary.MaxVarintLen64
	entryOverhead = binary.MaxVarintLen32
)

func (f *frame) append(dst []byte) []byte {
	dst = append(dst, frameMagic[:]...)
	dst = append(dst, byte(f.kind))
	dst = binary.BigEndian.AppendUint16(dst, f.tag)
	dst = binary.AppendUvarint(dst, f.number)
	dst = binary.AppendUvarint(dst, f.part)
	dst = binary.AppendUvarint(dst, uint64(len(f.data)))
	for _, d := range f.data {
		dst = binary.AppendUvarint(dst, uint64(len(d)))
		dst = append(dst, d...)
	}
	return dst
}

func (f *frame) bytes() []byte {
	size := frameOverhead
	for _, d := range f.data {
		size += entryOverhead + len(d)
	}
	return f.append(make([]byte, 0, size))
}

// parseFrame reads a frame, whose data share b's memory. It returns
// errForeign for what is none, errVersion for one that it does not know.
func parseFrame(b []byte) (frame, error) {
	var f frame
	if len(b) < len(frameMagic)+3 || !bytes.Equal(b[:3], frameMagic[:3]) {
		return f, errForeign
	}
	if b[3] != frameMagic[3] {
		return f, fmt.Errorf("%w: format %d", errVersion, b[3])
	}
	f.kind = frameKind(b[4])
	f.tag = binary.BigEndian.Uint16(b[5:7])
	b = b[7:]
	var count uint64
	for _, to := range []*uint64{&f.number, &f.part, &count} {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return f, errForeign
		}
		*to, b = v, b[n:]
	}
	isBatch := f.kind == frameBatch
	if f.tag == 0 || count > maxEntries || isBatch != (count > 0) || !isBatch && f.kind != frameBeat && f.kind != frameEpoch {
		return f, errForeign
	}
	if isBatch {
		f.data = make([][]byte, count)
	}
	for i := range f.data {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return f, errForeign
		}
		end := n + int(size)
		f.data[i] = b[n:end:end]
		b = b[end:]
	}
	if len(b) != 0 {
		return f, errForeign
	}
	return f, nil
}

// isEpochMark reports whether a payload looks like a mark for another epoch.
func isEpochMark(b []byte) bool {
	return len(b) > len(frameMagic) && frameKind(b[4]) == frameEpoch && bytes.Equal(b[:4], frameMagic[:])
}

// tagOf returns the tag of what the words name. It is never 0.
func tagOf(words ...string) uint16 {
	h := fnv.New64a()
	for _, w := range words {
		h.Write([]byte(w))
		h.Write([]byte{0})
	}
	return foldTag(h.Sum64())
}

func foldTag(v uint64) uint16 { return uint16(v%(1<<16-1)) + 1 }

// stored is a message as the stream has it.
type stored struct {
	seq  uint64
	time int64 // when it was stored, in nanoseconds, by the server's clock
	// payload is not to be modified.
	payload []byte
}

// decoded is what a stored message says.
type decoded struct {
	stored
	frame
	foreign bool
}

// decode reads a message. It fails only for one of a newer version.
func (m stored) decode() (decoded, error) {
	f, err := parseFrame(m.payload)
	if errors.Is(err, errForeign) {
		return decoded{stored: m, foreign: true, frame: frame{
			kind: frameBatch,
			tag:  foldTag(uint64(m.time) / uint64(time.Microsecond)),
			data: [][]byte{nil},
		}}, nil
	}
	return decoded{stored: m, frame: f}, err
}

// end returns the position behind the whole message.
func (d *decoded) end(epoch string) backplane.Position {
	return backplane.Position{Epoch: epoch, Seq: place(d.seq, 0), Tag: d.tag}
}

// appendEntries appends count of the message's entries, from the one at index
// from on.
func (d *decoded) appendEntries(dst []backplane.Entry, epoch string, from, count int) []backplane.Entry {
	dst = slices.Grow(dst, count)
	for i := from; i < from+count; i++ {
		dst = append(dst, backplane.Entry{
			Position: backplane.Position{Epoch: epoch, Seq: place(d.seq, len(d.data)-1-i), Tag: d.tag},
			Time:     time.Unix(0, d.time),
			Data:     d.data[i],
		})
	}
	return dst
}
