package middleware

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must come at once. It is far below the
// heartbeat interval, so that no heartbeat can push out what a middleware holds back.
const patience = 10 * time.Second

// stream is an answer of a broker, read line by line and by nothing of this module.
type stream struct {
	*http.Response
	lines chan string // closed at the end of the stream
}

// open asks for a stream. A cursor makes it a reconnect.
func open(t *testing.T, c *http.Client, url, cursor string) (*stream, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if cursor != "" {
		req.Header.Set("Last-Event-ID", cursor)
	}
	type answer struct {
		*http.Response
		error
	}
	answers := make(chan answer, 1)
	go func() {
		resp, err := c.Do(req) //nolint:bodyclose // by the stream
		answers <- answer{resp, err}
	}()
	select {
	case a := <-answers:
		if a.error != nil {
			return nil, a.error
		}
		s := &stream{Response: a.Response, lines: make(chan string, 1000)}
		go s.read()
		t.Cleanup(s.close)
		return s, nil
	case <-time.After(patience):
		return nil, fmt.Errorf("no answer within %v: its headers are held back", patience)
	}
}

func (s *stream) read() {
	defer close(s.lines)
	for scan := bufio.NewScanner(s.Body); scan.Scan(); {
		s.lines <- scan.Text()
	}
}

func (s *stream) close() { _ = s.Body.Close() }

// until reads to the line that has the text, and returns the last id before it.
func (s *stream) until(text string) (id string, err error) {
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return id, fmt.Errorf("the stream ended before %q", text)
			}
			if strings.Contains(line, text) {
				return id, nil
			}
			if v, ok := strings.CutPrefix(line, "id: "); ok {
				id = v
			}
		case <-limit:
			return id, fmt.Errorf("%q did not come within %v: it is held back", text, patience)
		}
	}
}

// end reads to the end of the stream.
func (s *stream) end() error {
	limit := time.After(patience)
	for {
		select {
		case _, ok := <-s.lines:
			if !ok {
				return nil
			}
		case <-limit:
			return fmt.Errorf("the stream is still open after %v", patience)
		}
	}
}
