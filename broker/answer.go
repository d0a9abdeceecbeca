package broker

import (
	"errors"
	"fmt"
	"net/http"
)

// writeHeader answers a request with a stream.
func (b *Broker) writeHeader(w http.ResponseWriter, r *http.Request, s *session) {
	h := w.Header()
	b.streamHeader(h, r)
	h.Set("Sse-Session", s.id)
	w.WriteHeader(http.StatusOK)
}

// streamHeader sets the headers of a stream: no cache and no proxy may hold it
// back (nginx: X-Accel-Buffering) or change it. On HTTP/2 there are no
// connection-specific headers (RFC 9113, 8.2.2).
func (b *Broker) streamHeader(h http.Header, r *http.Request) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	for name, value := range b.cfg.headers {
		if r.ProtoMajor < 2 || !connectionSpecific[http.CanonicalHeaderKey(name)] {
			h.Set(name, value)
		}
	}
}

var connectionSpecific = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true,
	"Transfer-Encoding": true, "Upgrade": true,
}

// refuse answers a request that gets no stream.
func (b *Broker) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var denied unauthorized
	var streaming *StreamingUnsupportedError
	switch {
	case errors.As(err, &streaming):
		b.deafWriter.Do(func() { // one of them is as good as all
			b.cfg.logger.Warn("sseplane: an http.ResponseWriter can not flush, and so not stream", "writer", fmt.Sprintf("%T", w), "innermost", fmt.Sprintf("%T", innermost(w)))
		})
		http.Error(w, "streaming is not possible here", http.StatusInternalServerError)
	case errors.Is(err, ErrInvalidOption):
		b.cfg.logger.Error("sseplane: a request was refused because of a bad option", "error", err)
		http.Error(w, "the broker is misconfigured", http.StatusInternalServerError)
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrDraining), errors.Is(err, ErrClosed),
		errors.Is(err, ErrTooManyConnections), errors.Is(err, ErrDisconnected), errors.Is(err, ErrIncompatible),
		errors.Is(err, ErrNodeLapsed):
		b.comeBack(w, r)
	case errors.As(err, &denied):
		http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
	case errors.Is(err, ErrInvalidName):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.Is(err, ErrClientGone):
	case errors.Is(err, errHead):
		b.streamHeader(w.Header(), r)
		w.WriteHeader(http.StatusOK)
	default:
		if !errors.Is(err, errPanicked) { // that has been logged
			b.cfg.logger.Error("sseplane: a request got no stream", "error", err)
		}
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}

// comeBack answers with a stream that ends at once: a browser's EventSource
// then tries again, as it would not after another status.
func (b *Broker) comeBack(w http.ResponseWriter, r *http.Request) {
	b.streamHeader(w.Header(), r)
	if r.ProtoMajor < 2 {
		w.Header().Set("Connection", "close") // so that the balancer chooses anew
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(newFarewellFrame(b.retry()).bytes)
}
