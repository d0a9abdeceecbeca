package broker_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

// reader is a client's end of one connection to a broker.
type reader struct {
	*sink
	t      testing.TB
	conn   *broker.ClientConnection // of connect alone
	cancel context.CancelFunc
	done   <-chan struct{}
	err    error // of Serve, after done
}

// request returns a GET with a context of its own.
func request(t testing.TB, change ...func(*http.Request)) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", nil)
	for _, f := range change {
		f(r)
	}
	return r, cancel
}

func lastEventID(id string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Last-Event-ID", id) }
}

func lastEventIDParam(id string) func(*http.Request) {
	return func(r *http.Request) { r.URL.RawQuery = url.Values{"lastEventId": {id}}.Encode() }
}

// connect opens a stream with Connect.
func connect(t testing.TB, b *broker.Broker, client string, options ...broker.ConnectOption) *reader {
	t.Helper()
	return connectFrom(t, b, client, "", options...)
}

// connectFrom opens a stream with Connect that goes on behind an event.
func connectFrom(t testing.TB, b *broker.Broker, client, last string, options ...broker.ConnectOption) *reader {
	t.Helper()
	var change []func(*http.Request)
	if last != "" {
		change = append(change, lastEventID(last))
	}
	r, cancel := request(t, change...)
	k := newSink()
	conn, err := b.Connect(client, k, r, options...)
	if err != nil {
		t.Fatalf("Connect(%.80q): %v", client, err)
	}
	return &reader{sink: k, t: t, conn: conn, cancel: cancel, done: conn.Done()}
}

// serve opens a stream with a handler, such as Serve in one.
func serve(t testing.TB, w http.ResponseWriter, k *sink, handle func(http.ResponseWriter, *http.Request) error, change ...func(*http.Request)) *reader {
	t.Helper()
	r, cancel := request(t, change...)
	done := make(chan struct{})
	rd := &reader{sink: k, t: t, cancel: cancel, done: done}
	go func() {
		defer close(done)
		rd.err = handle(w, r)
	}()
	return rd
}

// leave closes the connection from the client's end, and waits for the broker's.
func (r *reader) leave() {
	r.t.Helper()
	r.cancel()
	r.wait()
}

// wait waits for the end of the connection, for at most a minute.
func (r *reader) wait() {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(time.Minute):
		r.t.Fatal("the connection does not end")
	}
}

func (r *reader) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// parsed is what a browser makes of a stream.
type parsed struct {
	events   []sse.Message
	comments []string
	lastID   string
	retry    time.Duration
}

func parse(t testing.TB, text string) parsed {
	t.Helper()
	var p parsed
	dec := sse.NewDecoder(strings.NewReader(text), sse.WithCommentHook(func(c string) { p.comments = append(p.comments, c) }))
	for {
		m, err := dec.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("stream %q: %v", text, err)
		}
		p.events = append(p.events, m)
	}
	p.lastID = dec.LastEventID()
	p.retry, _ = dec.Retry()
	return p
}

func (r *reader) parsed() parsed {
	r.t.Helper()
	return parse(r.t, r.text())
}

// events returns what has been dispatched. In a bubble, call synctest.Wait before.
func (r *reader) events() []sse.Message { r.t.Helper(); return r.parsed().events }

// data returns the data of what has been dispatched, once all is quiet.
func (r *reader) data() []string {
	r.t.Helper()
	synctest.Wait()
	data := []string{}
	for _, m := range r.events() {
		data = append(data, m.Data)
	}
	return data
}

func (r *reader) lastID() string { r.t.Helper(); return r.parsed().lastID }

// wants fails the test unless exactly these data have been dispatched, once all is quiet.
func (r *reader) wants(data ...string) {
	r.t.Helper()
	if got := r.data(); !slices.Equal(got, data) {
		r.t.Errorf("received %.500q, want %.500q\nstream: %.2000q", got, data, r.text())
	}
}

func text(data string) sse.StringEvent { return sse.StringEvent{Data: data} }
