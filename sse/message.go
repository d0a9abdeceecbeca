package sse

import "time"

// Message is everything that a block of the format can say. It is what a Decoder returns, and an Event.
//
// With an empty Data and an empty Event it has no data line: a control block, which sets the id, the reconnection time
// or nothing at all, and is not dispatched. To send an event with empty data and no type, use StringEvent.
type Message struct {
	// ID is the event's id. Empty means no id line.
	ID string
	// Event is the event type. Empty means no event line.
	Event string
	// Data is the payload; its lines are separated by LF, and a CR or CRLF arrives as LF.
	Data string
	// Retry is the reconnection time for the reader, in whole milliseconds; a fraction is rounded up. 0 means no retry
	// line; negative is an error.
	Retry time.Duration
	// Comment is written before the fields, each of its lines as a comment of its own. Empty means no comment.
	Comment string
}

// Prepare implements Event. It is nil if the message cannot be encoded.
func (m Message) Prepare() []byte { return prepare(m.block()) }

// GetId returns ID.
func (m Message) GetId() string { return m.ID }

// GetEvent returns Event.
func (m Message) GetEvent() string { return m.Event }

// GetData returns Data.
func (m Message) GetData() string { return m.Data }

func (m Message) block() (Block, error) {
	return fields{
		id: m.ID, event: m.Event, data: m.Data, hasData: m.Data != "" || m.Event != "",
		retry: m.Retry, comment: m.Comment, hasComment: m.Comment != "",
	}.block()
}
