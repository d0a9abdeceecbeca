package backplane

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Position is a place in the log of a namespace: behind the entry with that
// number, or, for Seq 0, before the first one. It is comparable with ==, and
// its text is what stands in the SSE id: field.
type Position struct {
	// Epoch names the history that Seq belongs to: 1 to 16 of [0-9a-z]. Empty
	// only in the zero Position, which is no place at all.
	Epoch string
	// Seq is strictly increasing within an epoch. Numbers need not be dense.
	Seq uint64
	// Tag is a few bits of the time of the entry at Seq, from a bus that may
	// give Seq out again for another entry (a restored copy of its store does
	// that); 0 from all others. Two positions with the same Epoch and Seq and
	// different Tags, neither of them 0, belong to different histories.
	Tag uint16
}

// ErrMalformedPosition is what [ParsePosition] returns for text that is not a
// position.
var ErrMalformedPosition = errors.New("backplane: not a position")

// positionMark opens the text of a position. It keeps positions apart from the
// ids that authors commonly give to their events (numbers, UUIDs, hashes).
const positionMark = "~"

const maxEpochLen = 16

// IsZero reports whether p is the zero Position, which is no place in any log.
func (p Position) IsZero() bool { return p == Position{} }

// String returns the text of p: "~epoch.seq" or "~epoch.seq.tag", the numbers in
// base 36, without any character that a URL or a header would have to escape.
// It is the empty string for the zero Position.
func (p Position) String() string {
	if p.IsZero() {
		return ""
	}
	return string(p.Append(make([]byte, 0, 40)))
}

// Append appends the text of p to dst, as [Position.String] returns it.
func (p Position) Append(dst []byte) []byte {
	if p.IsZero() {
		return dst
	}
	dst = append(dst, positionMark...)
	dst = append(dst, p.Epoch...)
	dst = append(dst, '.')
	dst = strconv.AppendUint(dst, p.Seq, 36)
	if p.Tag != 0 {
		dst = append(dst, '.')
		dst = strconv.AppendUint(dst, uint64(p.Tag), 36)
	}
	return dst
}

// ParsePosition is the inverse of [Position.String]. It accepts exactly what
// String returns for a position other than the zero one, and returns an error
// that wraps [ErrMalformedPosition] for everything else.
func ParsePosition(s string) (Position, error) {
	rest, ok := strings.CutPrefix(s, positionMark)
	if !ok || len(s) > 64 {
		return Position{}, malformed(s)
	}
	epoch, rest, ok := strings.Cut(rest, ".")
	if !ok || !validEpoch(epoch) {
		return Position{}, malformed(s)
	}
	seqText, tagText, tagged := strings.Cut(rest, ".")
	p := Position{Epoch: epoch}
	var err error
	if p.Seq, err = strconv.ParseUint(seqText, 36, 64); err != nil {
		return Position{}, malformed(s)
	}
	if tagged {
		tag, err := strconv.ParseUint(tagText, 36, 16)
		if err != nil || tag == 0 {
			return Position{}, malformed(s)
		}
		p.Tag = uint16(tag)
	}
	if p.String() != s { // leading zeros, signs, upper case
		return Position{}, malformed(s)
	}
	return p, nil
}

func malformed(s string) error {
	if len(s) > 64 {
		s = s[:64] + "..."
	}
	return fmt.Errorf("%w: %q", ErrMalformedPosition, s)
}

func validEpoch(epoch string) bool {
	if len(epoch) == 0 || len(epoch) > maxEpochLen {
		return false
	}
	for i := range len(epoch) {
		c := epoch[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// SameHistory reports whether p and q can belong to one history: the epochs
// are equal, and so are the tags wherever both positions name the same entry
// and both have one.
func (p Position) SameHistory(q Position) bool {
	return p.Epoch == q.Epoch && (p.Seq != q.Seq || p.Tag == 0 || q.Tag == 0 || p.Tag == q.Tag)
}
