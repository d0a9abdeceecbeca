package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sseplane/sseplane/sse"
)

// open opens a stream and returns its decoder and its session.
func open(t *testing.T, url, lastEventID string) (events *sse.Decoder, session string, hangUp func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	answer, err := get(ctx, url, lastEventID)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	hangUp = func() { cancel(); _ = answer.Body.Close() }
	t.Cleanup(hangUp)
	if got := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("%s: status %d, type %q", url, answer.StatusCode, got)
	}
	return sse.NewDecoder(answer.Body), answer.Header.Get("Sse-Session"), hangUp
}

func get(ctx context.Context, url, lastEventID string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	return httpClient.Do(r)
}

// next returns the next event of a stream.
func next(t *testing.T, events *sse.Decoder) sse.Message {
	t.Helper()
	m, err := events.Next()
	if err != nil {
		t.Fatalf("the stream ended: %v", err)
	}
	return m
}

// reader follows a stream as a browser does: it reconnects and resumes whenever the
// stream ends.
type reader struct {
	mu       sync.Mutex // guards the rest
	node     string     // that serves it; empty while none does
	sessions []string
	moves    int
	events   []sse.Message
	wrong    []string
}

// follow starts a reader, which reads until stop is called or the test ends.
func follow(t *testing.T, url string) (r *reader, stop func()) {
	r = new(reader)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for last := ""; ctx.Err() == nil; {
			last = r.read(ctx, url, last)
			pause := time.NewTimer(10 * time.Millisecond)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return r, stop
}

// read reads one stream to its end, and returns where to go on.
func (r *reader) read(ctx context.Context, url, last string) string {
	answer, err := get(ctx, url, last)
	if err != nil {
		if ctx.Err() == nil {
			r.note(func() { r.wrong = append(r.wrong, err.Error()) })
		}
		return last
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/event-stream") {
		r.note(func() { r.wrong = append(r.wrong, "an EventSource gives up on "+answer.Status) })
		return last
	}
	events := sse.NewDecoder(answer.Body, sse.WithLastEventID(last))
	for {
		m, err := events.Next()
		if err != nil {
			r.note(func() { r.node = "" })
			return events.LastEventID()
		}
		r.note(func() { r.take(m) })
	}
}

func (r *reader) note(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *reader) take(m sse.Message) {
	if m.Event != "hello" {
		r.events = append(r.events, m)
		return
	}
	var h hello
	if err := json.Unmarshal([]byte(m.Data), &h); err != nil {
		r.wrong = append(r.wrong, err.Error())
	}
	r.node, r.sessions, r.moves = h.Node, append(r.sessions, h.Session), r.moves+1
}

// now returns which replica serves the reader, and how many have.
func (r *reader) now() (node string, moves int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.node, r.moves
}

func (r *reader) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}
