package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"
)

// handlerSocket writes through the http.ResponseWriter, on the goroutine that
// calls serve: the way that works with everything net/http can do.
type handlerSocket struct {
	w         http.ResponseWriter
	control   *http.ResponseController
	flushers  []func() error
	deadline  time.Duration
	signal    chan struct{}
	frames    []*frame  // reused
	extended  time.Time // when the write deadline was last set
	deadlines bool      // the writer has deadlines
	lift      bool      // deadlines end a stream that is quiet (HTTP/2), not only a write that hangs
}

func newHandlerSocket(w http.ResponseWriter, protoMajor int, deadline time.Duration) *handlerSocket {
	return &handlerSocket{
		w: w, control: http.NewResponseController(w), flushers: flushersOf(w), deadline: deadline,
		signal: make(chan struct{}, 1), deadlines: true, lift: protoMajor >= 2,
	}
}

// canStream reports whether what is written to w can be flushed to the client: whether
// the innermost of the writers that it wraps can. (One further out may have a Flush
// that does nothing when the one below has none.) Nothing is written.
func canStream(w http.ResponseWriter) bool { return flusherOf(innermost(w)) != nil }

func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// flushersOf returns what has to be called, in this order, to get everything that was
// written to w on its way: the outermost writer with a Flush, which as a rule
// calls the next; and, where a writer without one is below, the next that has one.
func flushersOf(w http.ResponseWriter) []func() error {
	var flushers []func() error
	reached := false // by the Flush of the one above
	for w != nil {
		flush := flusherOf(w)
		if flush != nil && !reached {
			flushers = append(flushers, flush)
		}
		reached = flush != nil
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = wrapper.Unwrap()
	}
	return flushers
}

func flusherOf(w http.ResponseWriter) func() error {
	switch t := w.(type) {
	case interface{ FlushError() error }:
		return t.FlushError
	case http.Flusher:
		return func() error { t.Flush(); return nil }
	}
	return nil
}

func (h *handlerSocket) wake() {
	select {
	case h.signal <- struct{}{}:
	default:
	}
}

func (h *handlerSocket) serve(ctx context.Context, s *session) error {
	// The server's own deadlines are for requests that end.
	_ = h.control.SetReadDeadline(time.Time{})
	opened := false // the headers have been sent
	for {
		frames, open := s.take(h.frames[:0])
		if len(frames) > 0 {
			err := h.write(frames)
			clear(frames)
			if h.frames = frames; cap(frames) > keepQueue {
				h.frames = nil
			}
			if err != nil {
				return err
			}
			opened = true
			continue
		}
		if !opened {
			// With something, because some writers flush nothing before the first write.
			opened = true
			if err := h.write([]*frame{openingFrame}); err != nil {
				return err
			}
		}
		if !open {
			return s.reason()
		}
		select {
		case <-h.signal:
		case <-ctx.Done():
			return ErrClientGone
		}
	}
}

// maxWrite is how much is written under one write deadline: what a client must
// take within it to show that it makes progress.
const maxWrite = 16 << 10

func (h *handlerSocket) write(frames []*frame) error {
	for _, f := range frames {
		for rest := f.bytes; len(rest) > 0; {
			h.extend(time.Now())
			n := min(len(rest), maxWrite)
			if _, err := h.w.Write(rest[:n]); err != nil {
				return h.failed(err)
			}
			rest = rest[n:]
		}
	}
	if err := h.flush(); err != nil {
		return err
	}
	if h.lift && h.deadlines {
		h.extended = time.Time{}
		_ = h.control.SetWriteDeadline(time.Time{})
	}
	return nil
}

func (h *handlerSocket) flush() error {
	for _, flush := range h.flushers {
		if err := flush(); err != nil {
			return h.failed(err)
		}
	}
	return nil
}

func (h *handlerSocket) failed(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: nothing was taken for %v", ErrSlowSession, h.deadline)
	}
	return fmt.Errorf("%w: %w", ErrClientGone, err)
}

// extend moves the write deadline ahead, but not for every write: a call each
// quarter of it is exact enough, and much cheaper.
func (h *handlerSocket) extend(now time.Time) {
	if !h.deadlines || now.Sub(h.extended) < h.deadline/4 {
		return
	}
	h.extended = now
	if err := h.control.SetWriteDeadline(now.Add(h.deadline)); err != nil {
		h.deadlines = false
	}
}
