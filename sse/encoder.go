package sse

import "io"

// Encoder writes events to a stream. It is for one goroutine at a time.
type Encoder struct {
	w   io.Writer
	buf []byte
}

// NewEncoder returns an Encoder that writes to w. If w buffers, as an http.ResponseWriter does, the caller flushes it.
func NewEncoder(w io.Writer) *Encoder { return &Encoder{w: w} }

// maxKeptBuffer is the most memory that an Encoder or a Decoder keeps from one event to the next.
const maxKeptBuffer = 64 << 10

// Encode writes one event, its id line included, in a single Write. On an error of the event (see NewBlock) nothing is
// written; an error of the writer is returned as it is.
func (enc *Encoder) Encode(e Event) error {
	b, err := NewBlock(e)
	if err != nil {
		return err
	}
	enc.buf = appendBlock(enc.buf[:0], b)
	_, err = enc.w.Write(enc.buf)
	if cap(enc.buf) > maxKeptBuffer {
		enc.buf = nil
	}
	return err
}
