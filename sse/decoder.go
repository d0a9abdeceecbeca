package sse

import (
	"bytes"
	"fmt"
	"io"
	"time"
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
	strings   stringMaker
	maxLine   int
	maxEvent  int
	onComment func(string)
	err       error

	// The block being read. Its first data line stays in the buffer of lines for as long as nothing more must be read;
	// data has it once it was moved, or joined with a second one.
	data     []byte
	view     span
	hasView  bool
	hasData  bool
	notPlain bool // the data may be other than ASCII
	event    string
	begun    bool // a line of the block was seen

	id       string        // the newest; the last event ID, unless it is of the block being read
	newID    bool          // it is
	oldID    string        // what was the last event ID before it
	retry    time.Duration // the newest, for the connection
	hasRetry bool
	setRetry time.Duration // for the next Message

	text     string // a copy of the buffer of lines from textAt on
	textAt   int
	typeLine string // the line of the event type that was handed out last, with its end
}

// A DecoderOption changes a Decoder from what it is by default.
type DecoderOption func(*Decoder)

// WithLimits sets how long a line may be, without its end, and how large the data, type and id of an event together, in
// bytes. Zero or less leaves the default (DefaultMaxLine, DefaultMaxEvent). A longer line ends the stream with
// ErrLineTooLong, a larger event with ErrEventTooLarge.
func WithLimits(line, event int) DecoderOption {
	return func(d *Decoder) {
		if line > 0 {
			d.maxLine = line
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
	return func(d *Decoder) { d.id = id }
}

// NewDecoder returns a Decoder that reads from r. It reads ahead, at most 64 KiB beyond the line that it needs.
func NewDecoder(r io.Reader, options ...DecoderOption) *Decoder {
	d := &Decoder{maxLine: DefaultMaxLine, maxEvent: DefaultMaxEvent, lines: lineReader{r: r}}
	for _, o := range options {
		o(d)
	}
	return d
}

// Next returns the next event that a browser would dispatch: one with data, be it empty. Its ID is the last event ID at
// that point, which may have come with an earlier event; its Retry is what was read since the previous event; its
// Comment is empty (see WithCommentHook). The strings are copies; one that is kept holds on to at most a kilobyte beside it.
//
// At the end of the stream Next returns io.EOF and drops an unfinished event, as the standard has it. Other errors are
// those of the reader, unchanged, ErrLineTooLong and ErrEventTooLarge. After an error Next returns the same error.
func (d *Decoder) Next() (m Message, err error) {
	for d.err == nil {
		if d.plainEvent(&m) {
			return m, nil
		}
		line, ok := d.lines.next()
		switch {
		case !ok:
			err = d.fill()
		case len(line) > d.maxLine:
			err = d.lineTooLong()
		case len(line) > 0:
			err = d.field(line)
		default:
			d.newID = false
			if !d.hasData {
				d.reset()
			} else if d.size() > d.maxEvent {
				err = d.eventTooLarge()
			} else {
				return d.message(), nil
			}
		}
		if err != nil {
			d.err = err
		}
	}
	return Message{}, d.err
}

// LastEventID returns the id to continue from: the newest one whose block is complete, with or without data. An empty
// id in the stream clears it.
func (d *Decoder) LastEventID() string {
	if d.newID {
		return d.oldID
	}
	return d.id
}

// Retry returns the reconnection time that the stream asked for last, and whether it did. A time beyond the range of a
// Duration is the largest Duration.
func (d *Decoder) Retry() (time.Duration, bool) { return d.retry, d.hasRetry }

// unfinished tells whether the stream ended inside a block or a line.
func (d *Decoder) unfinished() bool { return d.begun || d.lines.pending() > 0 }

// fill reads more, when the lines in memory are used up.
func (d *Decoder) fill() error {
	if d.lines.pending() > d.maxLine {
		return d.lineTooLong()
	}
	d.moveView()
	d.text = ""
	return d.lines.fill()
}

func (d *Decoder) lineTooLong() error {
	return fmt.Errorf("%w: more than %d bytes", ErrLineTooLong, d.maxLine)
}

// field takes one line that is not blank.
func (d *Decoder) field(line []byte) error {
	d.begun = true
	// What most lines look like, before the general rule.
	switch {
	case len(line) > 6 && string(line[:6]) == "data: ":
		return d.addData(line[6:])
	case len(line) > 4 && string(line[:4]) == "id: ":
		d.setID(line[4:])
		return nil
	case len(line) > 7 && string(line[:7]) == "event: ":
		d.event = d.strings.make(line[7:], d.lines.plain)
		return nil
	case line[0] == ':':
		if d.onComment != nil {
			d.onComment(d.strings.make(afterSpace(line[1:]), d.lines.plain))
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
		d.event = d.strings.make(value, d.lines.plain)
	case "id":
		d.setID(value)
	case "retry":
		if len(value) > 0 && onlyDigits(value) {
			d.retry, d.hasRetry = parseRetry(value), true
			d.setRetry = d.retry
		}
	}
	return nil
}

func (d *Decoder) setID(value []byte) {
	if bytes.IndexByte(value, 0) >= 0 || string(value) == d.id {
		return
	}
	if !d.newID {
		d.oldID, d.newID = d.id, true
	}
	d.id = d.strings.make(value, d.lines.plain)
}

// typeOf returns the type in typeLine.
func typeOf(line string) string {
	if line == "" {
		return ""
	}
	return line[len(typePrefix) : len(line)-1]
}

// addData keeps one line of data. What it refuses here would be refused with the whole event too, but might not end.
func (d *Decoder) addData(value []byte) error {
	d.notPlain = d.notPlain || !d.lines.plain
	if !d.hasData {
		d.view, d.hasView, d.hasData = d.lines.lastSpan(len(value)), true, true
		return nil
	}
	d.moveView()
	d.data = append(d.data, '\n')
	d.data = append(d.data, value...)
	if d.size() > d.maxEvent {
		return d.eventTooLarge()
	}
	return nil
}

// moveView copies the data out of the buffer of lines, which is about to be reused.
func (d *Decoder) moveView() {
	if d.hasView {
		d.data = append(d.data[:0], d.lines.buf[d.view.from:d.view.to]...)
		d.view, d.hasView = span{}, false
	}
}

// size is what counts as the size of the event.
func (d *Decoder) size() int { return d.view.to - d.view.from + len(d.data) + len(d.event) + len(d.id) }

func (d *Decoder) eventTooLarge() error {
	return fmt.Errorf("%w: more than %d bytes", ErrEventTooLarge, d.maxEvent)
}

func (d *Decoder) message() Message {
	data := d.data
	if d.hasView {
		data = d.lines.buf[d.view.from:d.view.to]
	}
	m := Message{ID: d.id, Event: d.event, Data: d.strings.make(data, !d.notPlain), Retry: d.setRetry}
	d.setRetry = 0
	d.reset()
	return m
}

// reset forgets the block, and the memory that a large one needed.
func (d *Decoder) reset() {
	d.view, d.hasView, d.hasData, d.notPlain, d.begun = span{}, false, false, false, false
	if d.event != "" {
		d.event = ""
	}
	if len(d.data) > 0 {
		d.data = d.data[:0]
	}
	if cap(d.data) > maxKeptBuffer {
		d.data = nil
	}
}

const typePrefix = "event: "

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
