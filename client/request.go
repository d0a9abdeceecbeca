package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/sseplane/sseplane/sse"
)

// answerTimeout is the most that a server has for its answer.
const answerTimeout = 30 * time.Second

// request sends one request and returns the answer to it, redirects followed.
func (s *Stream) request(ctx context.Context, url string) (*http.Response, error) {
	var body io.Reader
	if s.o.body != nil {
		body = bytes.NewReader(s.o.body)
	}
	r, err := http.NewRequestWithContext(ctx, s.o.method, url, body)
	if err != nil {
		return nil, err
	}
	r.Header = s.o.header.Clone()
	r.Host = r.Header.Get("Host")
	r.Header.Del("Host")
	// Compression holds events back until a block is full, in many a middleware.
	setDefault(r.Header, "Accept-Encoding", "identity")
	setDefault(r.Header, "Accept", sse.ContentType)
	setDefault(r.Header, "Cache-Control", "no-cache")
	if s.lastID != "" {
		if validValue(s.lastID) {
			r.Header.Set("Last-Event-ID", s.lastID)
		} else {
			s.failed(ErrLastEventID)
		}
	}
	return s.o.client.Do(r)
}

func setDefault(h http.Header, key, value string) {
	if len(h.Values(key)) == 0 {
		h.Set(key, value)
	}
}

// check tells by the head of an answer whether it is a stream; else the outcome has an error.
func (s *Stream) check(resp *http.Response) outcome {
	if resp.StatusCode == http.StatusNoContent {
		return outcome{err: ErrNoContent, final: true}
	}
	if resp.StatusCode != http.StatusOK {
		return outcome{
			err:        &StatusError{resp.StatusCode, resp.Header},
			final:      !s.o.retryStatus(resp.StatusCode),
			retryAfter: retryAfter(resp.Header),
		}
	}
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(media), sse.ContentType) {
		return outcome{err: &ContentTypeError{ContentType: resp.Header.Get("Content-Type")}, final: true}
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return outcome{err: &ContentTypeError{resp.Header.Get("Content-Type"), e}, final: true}
	}
	return outcome{}
}

func (s *Stream) opened(resp *http.Response) {
	s.o.logger.Debug("event stream opened", "url", resp.Request.URL.Redacted(), "last_event_id", s.lastID)
	if s.o.onOpen != nil {
		shown := *resp
		shown.Body = http.NoBody
		s.task.call(func() { s.o.onOpen(&shown) })
	}
}

// watchdog calls a function when it was not paused or reset for a time. A time of 0 means never.
type watchdog struct {
	d time.Duration
	t *time.Timer
}

func newWatchdog(d time.Duration, bark func()) *watchdog {
	w := &watchdog{d: d, t: time.AfterFunc(time.Hour, bark)}
	w.reset()
	return w
}

func (w *watchdog) reset() {
	if w.d > 0 {
		w.t.Reset(w.d)
	} else {
		w.t.Stop()
	}
}

func (w *watchdog) pause() { w.t.Stop() }
func (w *watchdog) stop()  { w.t.Stop() }

// watched is a body whose reads are watched. Only the time within a read counts: how long the reader of events takes
// says nothing of the server.
type watched struct {
	io.Reader
	dog *watchdog
}

func (r *watched) Read(p []byte) (int, error) {
	r.dog.reset()
	defer r.dog.pause()
	return r.Reader.Read(p)
}
