package client

import (
	"encoding/json"

	"github.com/sseplane/sseplane/sse"
)

// Reset is the event by which a broker says that it could not continue where the stream stopped: events may be missing
// before it, none after it. An application that builds state from events fetches the state anew.
//
// It is delivered like any event of its type, so to Subscribe("reset") and to whoever takes all events.
type Reset struct {
	sse.StringEvent
	// Reason is why, in a word or a sentence.
	Reason string
}

// event makes what is handed out of what was decoded.
func (s *Stream) event(m sse.Message) sse.Event {
	e := sse.StringEvent{Id: m.ID, Event: m.Event, Data: m.Data}
	if m.Event != s.o.resetEvent || m.Event == "" {
		return e
	}
	// Other servers may use the name for something else.
	var body struct {
		Reason *string `json:"reason"`
	}
	if json.Unmarshal([]byte(m.Data), &body) != nil || body.Reason == nil {
		return e
	}
	return Reset{StringEvent: e, Reason: *body.Reason}
}
