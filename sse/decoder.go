package sse

import (
	"bytes"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// The limits of a Decoder that is given none, in bytes.
const (
	DefaultMaxLine  = 16 << 20
	DefaultMaxEvent = 16 << 20
)

// Decoder reads events from a stream, by the rules of the HTML standard, section 9.2.6. It is for one goroutine at a
// time.
//
// It reads no further than it must: an event is returned as soon as the end of its blank line has been read, also when
// that is a CR whose LF may still follow. Its memory is bounded by the limits, and what one large event needed is
// given back after it.
type Decoder struct {
	lines     lineReader
	maxEvent  int
	onComment func(string)
	err       error

	// The block being read. Its first data line stays in the buffer of lines for as long as nothing more must be read;
	// data has it once it was moved, or joined with a second one.
	data    []byte
	view    []byte
	hasView bool
	hasData bool
	event   []byte
	id      []byte
	hasID   bool
	begun   bool // a line of the block was seen

	lastID   string
	retry    time.Duration // the newest, for the connection
	hasRetry bool
	setRetry time.Duration // for the next Message

	types    [8]string // event types handed out lately, so that they are allocated once
	nextType int
}

// A DecoderOption changes a Decoder from what it is by default.
type DecoderOption func(*Decoder)

// WithLimits sets how long a line may be, without its end, and how large the data, type and id of an event together, in
// bytes. Zero or less leaves the default (DefaultMaxLine, DefaultMaxEvent). A longer line ends the stream with
// ErrLineTooLong, a larger event with ErrEventTooLarge.
func WithLimits(line, event int) DecoderOption {
	return func(d *Decoder) {
		if line > 0 {
			d.lines.max = line
		}
		if event > 0 {
			d.maxEvent = event
		}
	}
}

// WithCommentHook calls f with each comment, without its colon and one leading space, from within Next. Without a hook
// comments cost nothing.
func WithCommentHook(f func(comment string)) DecoderOption {
	return func(d *Decoder) { d.onComment = f }
}

// WithLastEventID sets the last event ID to start from, for a stream that continues an earlier one.
func WithLastEventID(id string) DecoderOption {
	return func(d *Decoder) { d.lastID = id }
}

// NewDecoder returns a Decoder that reads from r. It reads ahead, at most 64 KiB beyond the line that it needs.
func NewDecoder(r io.Reader, options ...DecoderOption) *Decoder {
	d := &Decoder{maxEvent: DefaultMaxEvent}
	d.lines = lineReader{r: r, max: DefaultMaxLine}
	for _, o := range options {
		o(d)
	}
	return d
}

// Next returns the next event that a browser would dispatch: one with data, be it empty. Its ID is the last event ID at
// that point, which may have come with an earlier event; its Retry is what was read since the previous event; its
// Comment is empty (see WithCommentHook). The strings are copies and hold on to nothing else.
//
// At the end of the stream Next returns io.EOF and drops an unfinished event, as the standard has it. Other errors are
// those of the reader, unchanged, ErrLineTooLong and ErrEventTooLarge. After an error Next returns the same error.
func (d *Decoder) Next() (Message, error) {
	for d.err == nil {
		if d.hasView && !d.lines.buffered() {
			d.moveView()
		}
		line, err := d.lines.next()
		if err != nil {
			d.err = err
			break
		}
		if len(line) > 0 {
			d.begun = true
			if err := d.field(line); err != nil {
				d.err = err
			}
			continue
		}
		d.commitID()
		if d.hasData {
			return d.message(), nil
		}
		d.reset()
	}
	return Message{}, d.err
}

// LastEventID returns the id to continue from: the newest one whose block is complete, with or without data. An empty
// id in the stream clears it.
func (d *Decoder) LastEventID() string { return d.lastID }

// Retry returns the reconnection time that the stream asked for last, and whether it did. A time beyond the range of a
// Duration is the largest Duration.
func (d *Decoder) Retry() (time.Duration, bool) { return d.retry, d.hasRetry }

// unfinished tells whether the stream ended inside a block or a line.
func (d *Decoder) unfinished() bool { return d.begun || d.lines.partial() }

// field takes one line that is not blank.
func (d *Decoder) field(line []byte) error {
	// The fields of nearly every line, before the general rule.
	if len(line) > 6 && string(line[:6]) == "data: " {
		return d.addData(line[6:])
	}
	if line[0] == ':' {
		if d.onComment != nil {
			d.onComment(toString(afterSpace(line[1:])))
		}
		return nil
	}
	name, value := line, []byte(nil)
	if i := bytes.IndexByte(line, ':'); i >= 0 {
		name, value = line[:i], afterSpace(line[i+1:])
	}
	switch string(name) {
	case "data":
		return d.addData(value)
	case "event":
		d.event = append(d.event[:0], value...)
		return d.checkSize()
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			d.id, d.hasID = append(d.id[:0], value...), true
			return d.checkSize()
		}
	case "retry":
		if len(value) > 0 && onlyDigits(value) {
			d.retry, d.hasRetry = parseRetry(value), true
			d.setRetry = d.retry
		}
	}
	return nil
}

func (d *Decoder) addData(value []byte) error {
	if !d.hasData {
		d.view, d.hasView, d.hasData = value, true, true
		return d.checkSize()
	}
	d.moveView()
	d.data = append(d.data, '\n')
	d.data = append(d.data, value...)
	return d.checkSize()
}

// moveView copies the data out of the buffer of lines, which is about to be reused.
func (d *Decoder) moveView() {
	if d.hasView {
		d.data = append(d.data[:0], d.view...)
		d.view, d.hasView = nil, false
	}
}

func (d *Decoder) checkSize() error {
	if len(d.view)+len(d.data)+len(d.event)+len(d.id) > d.maxEvent {
		return fmt.Errorf("%w: more than %d bytes", ErrEventTooLarge, d.maxEvent)
	}
	return nil
}

func (d *Decoder) commitID() {
	if d.hasID && string(d.id) != d.lastID {
		d.lastID = toString(d.id)
	}
}

func (d *Decoder) message() Message {
	data := d.data
	if d.hasView {
		data = d.view
	}
	m := Message{ID: d.lastID, Event: d.eventType(), Data: toString(data), Retry: d.setRetry}
	d.setRetry = 0
	d.reset()
	return m
}

// reset forgets the block, and the memory that a large one needed.
func (d *Decoder) reset() {
	d.view, d.hasView, d.hasData, d.hasID, d.begun = nil, false, false, false, false
	d.data, d.event, d.id = emptied(d.data), emptied(d.event), emptied(d.id)
}

func emptied(b []byte) []byte {
	if cap(b) > maxKeptBuffer {
		return nil
	}
	return b[:0]
}

// eventType returns the type of the block as a string, one of those handed out before if it is among them.
func (d *Decoder) eventType() string {
	if len(d.event) == 0 {
		return ""
	}
	for _, t := range &d.types {
		if t == string(d.event) {
			return t
		}
	}
	t := toString(d.event)
	if len(t) <= 64 {
		d.types[d.nextType] = t
		d.nextType = (d.nextType + 1) % len(d.types)
	}
	return t
}

func toString(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string(appendValid(make([]byte, 0, len(b)+8), b))
}

func afterSpace(value []byte) []byte {
	if len(value) > 0 && value[0] == ' ' {
		return value[1:]
	}
	return value
}

// parseRetry reads ASCII digits as milliseconds, at most the largest Duration.
func parseRetry(digits []byte) time.Duration {
	const most = time.Duration(1<<63 - 1)
	var ms time.Duration
	for _, c := range digits {
		ms = ms*10 + time.Duration(c-'0')
		if ms > most/time.Millisecond {
			return most
		}
	}
	return ms * time.Millisecond
}
