package sse

import (
	"fmt"
	"strconv"
	"strings"
	"time"
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
	if !f.hasData && !f.hasComment && f.retry == 0 {
		if f.id == "" {
			return Block{}, ErrEmptyEvent
		}
		return Block{ID: toValid(f.id), Bytes: []byte(emptyBlock)}, nil
	}
	event, data, comment := toValid(f.event), normalize(f.data), normalize(f.comment)
	size := len(event) + len("event: \n") + len("retry: \n") + 20 +
		len(data) + (strings.Count(data, "\n")+1)*len("data: \n") +
		len(comment) + (strings.Count(comment, "\n")+1)*len(": \n") + 1
	b := make([]byte, 0, size)
	if f.hasComment {
		b = appendLines(b, ": ", comment)
	}
	if f.retry > 0 {
		b = append(b, "retry: "...)
		b = strconv.AppendInt(b, milliseconds(f.retry), 10)
		b = append(b, '\n')
	}
	if event != "" {
		b = append(b, "event: "...)
		b = append(b, event...)
		b = append(b, '\n')
	}
	if f.hasData {
		b = appendLines(b, "data: ", data)
	}
	return Block{ID: toValid(f.id), Event: event, Bytes: append(b, '\n'), HasData: f.hasData}, nil
}

func (f fields) check() error {
	switch {
	case hasLineBreak(f.id):
		return fmt.Errorf("id: %w", ErrLineBreak)
	case strings.IndexByte(f.id, 0) >= 0:
		return ErrNUL
	case hasLineBreak(f.event):
		return fmt.Errorf("event: %w", ErrLineBreak)
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

// normalize makes s what a reader will get: valid UTF-8, lines separated by LF.
func normalize(s string) string {
	s = toValid(s)
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
