package sse

import (
	"encoding/json"
	"fmt"
)

// Event is what can be sent, and what a client receives.
//
// NewBlock knows the types of this package. Any other type that implements Event is taken by its Prepare method alone:
// the bytes are decoded by the rules of the standard and encoded again, so that a foreign type cannot write fields of
// another event.
type Event interface {
	// Prepare returns the event in the event-stream format, id line and ending blank line included. The caller owns the
	// bytes. The types of this package return nil when the event cannot be encoded; NewBlock tells why.
	Prepare() []byte
	// GetId returns the id, or "" if the event has none. For a received event it is the last event ID at that point.
	GetId() string
	// GetEvent returns the event type, or "" if the event has none (a browser then dispatches it as "message").
	GetEvent() string
	// GetData returns the data, lines separated by LF.
	GetData() string
}

// StringEvent is an event with text data. It always has a data line, so that an empty Data is delivered too. Empty Id
// and Event mean that the line is left out. A CR or CRLF in Data arrives as LF.
type StringEvent struct {
	Id    string
	Event string
	Data  string
}

// Prepare implements Event. It is nil if Id or Event cannot be written.
func (e StringEvent) Prepare() []byte { return prepare(e.block()) }

// GetId returns Id.
func (e StringEvent) GetId() string { return e.Id }

// GetEvent returns Event.
func (e StringEvent) GetEvent() string { return e.Event }

// GetData returns Data.
func (e StringEvent) GetData() string { return e.Data }

func (e StringEvent) block() (Block, error) {
	return fields{id: e.Id, event: e.Event, data: e.Data, hasData: true}.block()
}

// JsonEvent is an event whose data is the JSON encoding of Data, made by encoding/json each time that it is asked for.
// Empty Id and Event mean that the line is left out.
type JsonEvent struct {
	Id    string
	Event string
	Data  any
}

// Prepare implements Event. It is nil if Id or Event cannot be written or Data cannot be marshalled.
func (e *JsonEvent) Prepare() []byte { return prepare(e.block()) }

// GetId returns Id.
func (e *JsonEvent) GetId() string {
	if e == nil {
		return ""
	}
	return e.Id
}

// GetEvent returns Event.
func (e *JsonEvent) GetEvent() string {
	if e == nil {
		return ""
	}
	return e.Event
}

// GetData returns the JSON encoding of Data, or "" if it cannot be marshalled.
func (e *JsonEvent) GetData() string {
	if e == nil {
		return ""
	}
	data, err := e.marshal()
	if err != nil {
		return ""
	}
	return string(data)
}

// marshal turns a panic of somebody's MarshalJSON into an error, because GetData and Prepare have no other way to fail.
func (e *JsonEvent) marshal() (data []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return json.Marshal(e.Data)
}

func (e *JsonEvent) block() (Block, error) {
	if e == nil {
		return Block{}, ErrNilEvent
	}
	data, err := e.marshal()
	if err != nil {
		return Block{}, fmt.Errorf("sse: data of JsonEvent: %w", err)
	}
	return fields{id: e.Id, event: e.Event, data: string(data), hasData: true}.block()
}

// HeartbeatEvent is a comment. It keeps a quiet connection alive and is invisible to the page in a browser.
type HeartbeatEvent struct{}

// Prepare implements Event.
func (HeartbeatEvent) Prepare() []byte { return []byte(heartbeat) }

// GetId returns "".
func (HeartbeatEvent) GetId() string { return "" }

// GetEvent returns "".
func (HeartbeatEvent) GetEvent() string { return "" }

// GetData returns "".
func (HeartbeatEvent) GetData() string { return "" }

const heartbeat = ": heartbeat\n\n"

func prepare(b Block, err error) []byte {
	if err != nil {
		return nil
	}
	return appendBlock(make([]byte, 0, len(b.ID)+len("id: \n")+len(b.Bytes)), b)
}
