package sse

import "errors"

// What NewBlock and Encoder.Encode refuse. Each is wrapped with the field or type that it concerns: use errors.Is. An
// event whose data cannot be marshalled is refused with the error of encoding/json, for errors.As.
var (
	// ErrNilEvent: the event is nil, or a nil pointer.
	ErrNilEvent = errors.New("sse: nil event")
	// ErrEmptyEvent: there is nothing to write, no field and no comment.
	ErrEmptyEvent = errors.New("sse: empty event")
	// ErrLineBreak: an id or an event type has a CR or LF in it, which would end its line and start another field.
	ErrLineBreak = errors.New("sse: line break")
	// ErrNUL: an id has a NUL in it. A reader would ignore the whole field (HTML 9.2.6).
	ErrNUL = errors.New("sse: NUL")
	// ErrRetry: the reconnection time is negative.
	ErrRetry = errors.New("sse: negative retry")
	// ErrPrepare: the Prepare method of a foreign Event panicked, gave more than one event, or stopped inside one.
	ErrPrepare = errors.New("sse: Prepare is not one event")
)

// Why a Decoder gave up. What was read before is not affected; the Decoder stays at this error.
var (
	// ErrLineTooLong: a line is longer than the limit set by WithLimits.
	ErrLineTooLong = errors.New("sse: line too long")
	// ErrEventTooLarge: the fields of an event together are larger than the limit set by WithLimits.
	ErrEventTooLarge = errors.New("sse: event too large")
)
