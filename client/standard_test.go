package client_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

// What the processing model of the standard asks for, beyond the format itself.
func TestStandard(t *testing.T) {
	fail := errors.New("connection refused")
	tests := []struct {
		rule    string
		answers []answer
		events  string
		ids     string // of the requests, the last of which is answered with 204
	}{
		{"events are dispatched in order", []answer{text("data: a\n\ndata: b\n\n")}, "||a ||b", "- -"},
		{"the last event ID is sent", []answer{text("id: 1\ndata: a\n\n")}, "1||a", "- 1"},
		{"the id of a block without data counts", []answer{text("id: 1\ndata: a\n\nid: 2\n\n")}, "1||a", "- 2"},
		{"the id is kept across connections", []answer{text("id: 1\ndata: a\n\n"), text("data: b\n\n")}, "1||a 1||b", "- 1 1"},
		{"the id is kept across failures", []answer{text("id: 1\n\n"), refuse(fail), status(503)}, "", "- 1 1 1"},
		{"an empty id clears it", []answer{text("id: 1\n\n"), text("id\n\n")}, "", "- 1 -"},
		{"an id beyond ASCII is sent as UTF-8", []answer{text("id: …é\n\n")}, "", "- …é"},
		{"an id with NUL does not count", []answer{text("id: 1\n\nid: 2\x00\n\n")}, "", "- 1"},
		{"an unfinished event is dropped", []answer{text("id: 1\ndata: a\n\nid: 2\ndata: b\n"), text("data: c\n\n")}, "1||a 1||c", "- 1 1"},
		{"an unfinished event does not reach into the next connection", []answer{text("event: x\ndata: a\n"), text("data: b\n\n")}, "||b", "- - -"},
		{"a byte order mark is dropped on each connection", []answer{text("\uFEFFdata: a\n\n"), text("\uFEFFdata: b\n\n")}, "||a ||b", "- - -"},
		{"the type is kept apart from message", []answer{text("event: message\ndata: a\n\n")}, "|message|a", "- -"},
		{"a failure to connect is tried again", []answer{refuse(fail), refuse(io.EOF), text("data: a\n\n")}, "||a", "- - - -"},
		{"an empty stream is tried again", []answer{text(""), text("data: a\n\n")}, "||a", "- - -"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				server := serve(tt.answers...)
				events, err := collect(open(t, server))
				if events != tt.events || server.ids() != tt.ids || !errors.Is(err, client.ErrNoContent) {
					t.Errorf("events %q, ids %q, error %v\nwant %q, %q, %v", events, server.ids(), err, tt.events, tt.ids, client.ErrNoContent)
				}
			})
		})
	}
}

func TestAnswersThatEndTheStream(t *testing.T) {
	stream := []string{"Content-Type", "text/event-stream"}
	tests := []struct {
		name    string
		answer  answer
		options []client.Option
		want    any // a status, or an error
	}{
		{"204", status(204), nil, client.ErrNoContent},
		{"204 whatever the policy", status(204), []client.Option{client.WithRetryStatus(func(int) bool { return true })}, client.ErrNoContent},
		{"404", status(404), nil, 404},
		{"401", status(401), nil, 401},
		{"206 is not 200", status(206, stream...), nil, 206},
		{"205", status(205), nil, 205},
		{"304", status(304), nil, 304},
		{"500 when strict", status(500), []client.Option{client.WithStrictStatus()}, 500},
		{"429 by the caller's policy", status(429), []client.Option{client.WithRetryStatus(func(s int) bool { return s == 404 })}, 429},
		{"no content type", status(200), nil, &client.ContentTypeError{}},
		{"wrong content type", status(200, "Content-Type", "text/html"), nil, &client.ContentTypeError{}},
		{"content type with more behind", status(200, "Content-Type", "text/event-streams"), nil, &client.ContentTypeError{}},
		{"compressed", status(200, "Content-Type", "text/event-stream", "Content-Encoding", "br"), nil, &client.ContentTypeError{}},
		{"line too long", text("data: 0123456789\n\n"), []client.Option{client.WithLimits(10, 100)}, sse.ErrLineTooLong},
		{"event too large", text("data: 0\ndata: 1\n\n"), []client.Option{client.WithLimits(10, 2)}, sse.ErrEventTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				server := serve(tt.answer)
				s := open(t, server, tt.options...)
				_, err := collect(s)
				<-s.Done()
				if s.Err() != err {
					t.Errorf("Err is %v, the loop had %v", s.Err(), err)
				}
				var status *client.StatusError
				var contentType *client.ContentTypeError
				switch want := tt.want.(type) {
				case int:
					if !errors.As(err, &status) || status.StatusCode != want {
						t.Errorf("%v, want status %d", err, want)
					}
				case *client.ContentTypeError:
					if !errors.As(err, &contentType) {
						t.Errorf("%v, want a ContentTypeError", err)
					}
				case error:
					if !errors.Is(err, want) {
						t.Errorf("%v, want %v", err, want)
					}
				}
				if server.count() != 1 {
					t.Errorf("%d requests", server.count())
				}
			})
		})
	}
}

func TestStatusesThatAreTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := serve(status(429), status(500), status(502), status(503), status(504), text("data: a\n\n"))
		events, err := collect(open(t, server))
		if events != "||a" || err != client.ErrNoContent {
			t.Error(events, err)
		}
	})
}

func TestContentTypeWithParameters(t *testing.T) {
	for _, ct := range []string{"text/event-stream;charset=utf-8", "Text/Event-Stream ; x", "text/event-stream; charset=\""} {
		bubble(t, func(t *testing.T) {
			events, _ := collect(open(t, serve(func(r *http.Request) (*http.Response, error) {
				resp, err := text("data: a\n\n")(r)
				resp.Header.Set("Content-Type", ct)
				return resp, err
			})))
			if events != "||a" {
				t.Errorf("%q: %q", ct, events)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := serve(text("id: 8\n\n"))
		var bodies []string
		read := func(r *http.Request) (*http.Response, error) {
			b, _ := io.ReadAll(r.Body)
			bodies = append(bodies, string(b))
			return server.RoundTrip(r)
		}
		collect(open(t, roundTripper(read), client.WithMethod("POST"), client.WithBody([]byte("query")),
			client.WithHeader("X-A", "1"), client.WithHeader("x-a", "2"), client.WithHeader("Cache-Control", "no-store"),
			client.WithHeader("Host", "other.example"), client.WithLastEventID("7")))
		if got := server.ids(); got != "7 8" {
			t.Errorf("ids %q", got)
		}
		if got := strings.Join(bodies, " "); got != "query query" {
			t.Errorf("bodies %q", got)
		}
		for _, r := range server.requests {
			h := r.Header
			if r.Method != "POST" || r.Host != "other.example" || strings.Join(h["X-A"], " ") != "1 2" ||
				h.Get("Accept") != "text/event-stream" || strings.Join(h["Cache-Control"], " ") != "no-store" {
				t.Errorf("%s %s %v", r.Method, r.Host, h)
			}
		}
	})
	bubble(t, func(t *testing.T) {
		server := serve()
		collect(open(t, server))
		if h := server.requests[0].Header; h.Get("Cache-Control") != "no-cache" || h.Get("Accept") != "text/event-stream" {
			t.Errorf("%v", h)
		}
	})
}

type roundTripper func(r *http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// net/http refuses control characters in headers; the stream must not fail for ever because of one.
func TestIDThatCannotBeSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var reported []error
		server := serve(text("id: 1\x01\ndata: a\n\n"), text("data: b\n\n"))
		events, err := collect(open(t, server, client.WithErrorHook(func(err error) { reported = append(reported, err) })))
		if events != "1\x01||a 1\x01||b" || err != client.ErrNoContent || server.ids() != "- - -" {
			t.Errorf("%q %v %q", events, err, server.ids())
		}
		if len(reported) != 2 || reported[0] != client.ErrLastEventID {
			t.Errorf("reported %v", reported)
		}
	})
}

func TestSeveralURLs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := serve(text("id: 1\ndata: a\n\n"), refuse(io.EOF), text("data: b\n\n"))
		events, _ := collect(open(t, server, client.WithURLs("http://b.example/", "http://c.example/")))
		var hosts []string
		for _, r := range server.requests {
			hosts = append(hosts, r.URL.Host)
		}
		if got := strings.Join(hosts, " "); events != "1||a 1||b" || got != "server.example b.example c.example server.example" {
			t.Errorf("%q from %q", events, got)
		}
	})
}

func TestReset(t *testing.T) {
	const in = "id: 9\nevent: reset\ndata: {\"reason\":\"trimmed\"}\n\nevent: reset\ndata: {}\n\nevent: reset\ndata: now\n\ndata: {\"reason\":\"x\"}\n\n"
	bubble(t, func(t *testing.T) {
		var got []string
		for e, err := range open(t, serve(text(in))).Events() {
			if err != nil {
				break
			}
			if r, ok := e.(client.Reset); ok {
				got = append(got, r.GetId()+" "+r.Reason)
			} else {
				got = append(got, show(e))
			}
		}
		want := `9 trimmed, 9|reset|{}, 9|reset|now, 9||{"reason":"x"}`
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("got %s, want %s", s, want)
		}
	})
	for name, eventType := range map[string]string{"gap": "gap", "": "reset"} {
		bubble(t, func(t *testing.T) {
			in := "event: " + eventType + "\ndata: {\"reason\":\"trimmed\"}\n\n"
			for e, err := range open(t, serve(text(in)), client.WithResetEvent(name)).Events() {
				if err != nil {
					break
				}
				if _, ok := e.(client.Reset); ok != (name == "gap") {
					t.Errorf("WithResetEvent(%q) gave %T", name, e)
				}
			}
		})
	}
}
