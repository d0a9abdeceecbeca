package sse

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// fields is a block before it is written. hasData and hasComment tell an empty line from none.
type fields struct {
	id, event, data, comment string
	hasData, hasComment      bool
	retry                    time.Duration
}

// emptyBlock stands for a block that has nothing but its id, so that the bytes of a Block are never a bare blank line.
const emptyBlock = ":\n\n"

func (f fields) block() (Block, error) {
	if err := f.check(); err != nil {
		return Block{}, err
	}
	f.id = toValid(f.id)
	if !f.hasData && !f.hasComment && f.retry == 0 {
		if f.id == "" {
			return Block{}, ErrEmptyEvent
		}
		return Block{ID: f.id, Bytes: []byte(emptyBlock)}, nil
	}
	f.data, f.comment = unifyLineEnds(f.data), unifyLineEnds(f.comment)
	b := f.bytes()
	// To look once at what was written is faster than at each value before, and it is nearly always right.
	if !isASCII(b) && !utf8.Valid(b) {
		f.event, f.data, f.comment = toValid(f.event), toValid(f.data), toValid(f.comment)
		b = f.bytes()
	}
	return Block{ID: f.id, Event: f.event, Bytes: b, HasData: f.hasData}, nil
}

// bytes writes the block without its id.
func (f fields) bytes() []byte {
	size := len("\n")
	if f.hasComment {
		size += len(f.comment) + (strings.Count(f.comment, "\n")+1)*len(": \n")
	}
	if f.retry > 0 {
		size += len("retry: 9223372036855\n")
	}
	if f.event != "" {
		size += len("event: \n") + len(f.event)
	}
	if f.hasData {
		size += len(f.data) + (strings.Count(f.data, "\n")+1)*len("data: \n")
	}
	b := make([]byte, 0, size)
	if f.hasComment {
		b = appendLines(b, ": ", f.comment)
	}
	if f.retry > 0 {
		b = append(b, "retry: "...)
		b = strconv.AppendInt(b, milliseconds(f.retry), 10)
		b = append(b, '\n')
	}
	if f.event != "" {
		b = append(b, "event: "...)
		b = append(b, f.event...)
		b = append(b, '\n')
	}
	if f.hasData {
		b = appendLines(b, "data: ", f.data)
	}
	return append(b, '\n')
}

func (f fields) check() error {
	switch {
	case hasLineBreak(f.id):
		return fmt.Errorf("%w in id", ErrLineBreak)
	case strings.IndexByte(f.id, 0) >= 0:
		return fmt.Errorf("%w in id", ErrNUL)
	case hasLineBreak(f.event):
		return fmt.Errorf("%w in event", ErrLineBreak)
	case f.retry < 0:
		return fmt.Errorf("%w: %v", ErrRetry, f.retry)
	}
	return nil
}

func hasLineBreak(s string) bool {
	return strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0
}

// milliseconds rounds up, so that a positive time never becomes 0, which tells a reader to come back at once.
func milliseconds(d time.Duration) int64 {
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	return int64(ms)
}

// appendLines writes each line of s, which has no CR, with the prefix.
func appendLines(b []byte, prefix, s string) []byte {
	for {
		i := strings.IndexByte(s, '\n')
		b = append(b, prefix...)
		if i < 0 {
			b = append(b, s...)
			return append(b, '\n')
		}
		b = append(b, s[:i+1]...)
		s = s[i+1:]
	}
}

// unifyLineEnds makes every CRLF and CR an LF.
func unifyLineEnds(s string) string {
	if strings.IndexByte(s, '\r') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\r' {
			c = '\n'
			if i+1 < len(s) && s[i+1] == '\n' {
				i++
			}
		}
		b = append(b, c)
	}
	return string(b)
}
