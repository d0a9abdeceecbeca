package client_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if left := leaked(); left != "" && code == 0 {
		fmt.Println("goroutines left over:\n" + left)
		code = 1
	}
	os.Exit(code)
}

// leaked returns the goroutines of the package under test that do not end.
func leaked() string {
	buf := make([]byte, 1<<20)
	for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		var left []string
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "sseplane/client.") && !strings.Contains(g, "client_test.leaked") {
				left = append(left, g)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
	}
}

// answer is what a server in memory does with a request.
type answer func(r *http.Request) (*http.Response, error)

// script is a server that answers each request with the next answer, and any further one with 204.
type script struct {
	mu       sync.Mutex // guards what follows
	answers  []answer
	requests []*http.Request
	times    []time.Time
}

func serve(answers ...answer) *script { return &script{answers: answers} }

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	n := len(s.requests)
	s.requests = append(s.requests, r)
	s.times = append(s.times, time.Now())
	s.mu.Unlock()
	resp, err := status(204)(r)
	if n < len(s.answers) {
		resp, err = s.answers[n](r)
	}
	if resp != nil {
		resp.Request = r
	}
	return resp, err
}

// ids returns the Last-Event-ID of each request, "-" for none.
func (s *script) ids() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, r := range s.requests {
		id := "-"
		if v, ok := r.Header["Last-Event-Id"]; ok {
			id = strings.Join(v, "+")
		}
		ids = append(ids, id)
	}
	return strings.Join(ids, " ")
}

// waits returns the times between the requests.
func (s *script) waits() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ds []time.Duration
	for i := 1; i < len(s.times); i++ {
		ds = append(ds, s.times[i].Sub(s.times[i-1]))
	}
	return ds
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func status(code int, headers ...string) answer {
	return func(*http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(headers); i += 2 {
			h.Set(headers[i], headers[i+1])
		}
		return &http.Response{StatusCode: code, Header: h, Body: http.NoBody}, nil
	}
}

func refuse(err error) answer {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// text is a stream that ends after its text.
func text(s string) answer {
	return body(func() io.ReadCloser { return io.NopCloser(strings.NewReader(s)) })
}

// hang is a stream that stays open after its text, silent.
func hang(s string) answer {
	return body(func() io.ReadCloser { return &hanging{strings.NewReader(s), make(chan struct{}), sync.Once{}} })
}

// gated is a stream that begins when the gate is opened and then stays open.
func gated(gate <-chan struct{}, s string) answer {
	return func(r *http.Request) (*http.Response, error) {
		resp, err := hang(s)(r)
		resp.Body = &gatedBody{resp.Body, gate}
		return resp, err
	}
}

type gatedBody struct {
	io.ReadCloser
	gate <-chan struct{}
}

func (b *gatedBody) Read(p []byte) (int, error) {
	<-b.gate
	return b.ReadCloser.Read(p)
}

func body(open func() io.ReadCloser) answer {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: open()}, nil
	}
}

type hanging struct {
	text   io.Reader
	closed chan struct{}
	once   sync.Once
}

func (h *hanging) Read(p []byte) (int, error) {
	if n, _ := h.text.Read(p); n > 0 {
		return n, nil
	}
	<-h.closed
	return 0, io.ErrClosedPipe
}

func (h *hanging) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// silent is a server that never answers.
func silent(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

const address = "http://server.example/events"

func open(t *testing.T, s http.RoundTripper, options ...client.Option) *client.Stream {
	t.Helper()
	options = append(options, client.WithHTTPClient(&http.Client{Transport: s}))
	stream, err := client.Open(t.Context(), address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stream.Close)
	return stream
}

// collect reads a stream to its end: each event as id|type|data, and the final error.
func collect(stream *client.Stream) (string, error) {
	var all []string
	for e, err := range stream.Events() {
		if err != nil {
			return strings.Join(all, " "), err
		}
		all = append(all, show(e))
	}
	return strings.Join(all, " "), nil
}

func show(e sse.Event) string { return e.GetId() + "|" + e.GetEvent() + "|" + e.GetData() }

// bubble runs a test under a clock of its own. When it ends, no goroutine may be left.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
