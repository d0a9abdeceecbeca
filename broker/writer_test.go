package broker_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
)

// A writer that can not stream is an error before anything of a stream is written.
func TestWriterThatCanNotStream(t *testing.T) {
	for name, wrap := range map[string]func(*sink) http.ResponseWriter{
		"bare":          func(k *sink) http.ResponseWriter { return deaf{k} },
		"wrapped":       func(k *sink) http.ResponseWriter { return wrapper{deaf{k}, deaf{k}} },
		"wraps nothing": func(k *sink) http.ResponseWriter { return wrapper{deaf{k}, nil} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				j := new(journal)
				b := start(t, broker.WithHooks(j.hooks("b")))
				for what, open := range map[string]func(http.ResponseWriter, *http.Request) error{
					"Connect": func(w http.ResponseWriter, r *http.Request) error { _, err := b.Connect("joe", w, r); return err },
					"Serve": func(w http.ResponseWriter, r *http.Request) error {
						return b.Serve(w, r, broker.Client{ID: "joe"})
					},
					"Handler": func(w http.ResponseWriter, r *http.Request) error {
						b.Handler(func(*http.Request) (broker.Client, error) {
							t.Error("identify was called")
							return broker.Client{ID: "joe"}, nil
						}).ServeHTTP(w, r)
						return broker.NewStreamingUnsupportedError("not told")
					},
				} {
					k := newSink()
					r, _ := request(t)
					err := open(wrap(k), r)
					var unsupported *broker.StreamingUnsupportedError
					if !errors.As(err, &unsupported) || unsupported.Message == "" {
						t.Errorf("%s: error is %v", what, err)
					}
					if k.code() != http.StatusInternalServerError || k.Header().Get("Content-Type") == "text/event-stream" {
						t.Errorf("%s: answered %d, %v", what, k.code(), k.Header())
					}
					if strings.Contains(k.written(), "id:") || strings.Contains(k.written(), "retry:") {
						t.Errorf("%s: wrote %q", what, k.written())
					}
				}
				synctest.Wait()
				j.wants(t)
				if b.IsClientPresent("joe") {
					t.Error("the client counts as present")
				}
			})
		})
	}
}

func TestWritersThatCanStream(t *testing.T) {
	for name, wrap := range map[string]func(*sink) http.ResponseWriter{
		"FlushError":         func(k *sink) http.ResponseWriter { return k },
		"Flush alone":        func(k *sink) http.ResponseWriter { return simple{deaf{k}} },
		"wrapped":            func(k *sink) http.ResponseWriter { return wrapper{deaf{k}, k} },
		"wrapped twice":      func(k *sink) http.ResponseWriter { return wrapper{deaf{k}, wrapper{deaf{k}, simple{deaf{k}}}} },
		"Flush in a wrapper": func(k *sink) http.ResponseWriter { return wrapper{deaf{k}, simple{deaf{k}}} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := start(t)
				k := newSink()
				r := serve(t, wrap(k), k, func(w http.ResponseWriter, r *http.Request) error {
					return b.Serve(w, r, broker.Client{ID: "joe"})
				})
				synctest.Wait()
				must(t, b.Broadcast(text("x")))
				r.wants("x")
				r.leave()
				mustBe(t, r.err, broker.ErrClientGone)
			})
		})
	}
}

func TestRecorderOfHttptest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r, cancel := request(t)
		rec := httptest.NewRecorder()
		conn, err := b.Connect("joe", rec, r)
		must(t, err)
		must(t, conn.Send(text("x")))
		synctest.Wait()
		cancel()
		<-conn.Done()
		if !rec.Flushed || !strings.Contains(rec.Body.String(), "data: x\n\n") {
			t.Errorf("recorded %q", rec.Body)
		}
	})
}

func TestHeaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		headers := map[string]string{"Access-Control-Allow-Origin": "*", "connection": "keep-alive", "cache-control": "private"}
		b := broker.NewBroker(headers)
		headers["Access-Control-Allow-Origin"] = "changed later"
		t.Cleanup(func() { shut(t, b) })
		must(t, b.Start(t.Context()))
		r := connect(t, b, "joe")
		synctest.Wait() // headers are flushed at once, without an event
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Sse-Session": r.conn.SessionId(),
			"Access-Control-Allow-Origin": "*", "Cache-Control": "private", "Connection": "keep-alive",
		} {
			if got := r.Header().Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if r.flushes == 0 || r.code() != http.StatusOK {
			t.Errorf("status %d, %d flushes", r.code(), r.flushes)
		}

		second := broker.NewBroker(nil)
		t.Cleanup(func() { shut(t, second) })
		must(t, second.Start(t.Context()))
		if got := connect(t, second, "joe").Header().Get("Cache-Control"); got != "no-cache, no-transform" {
			t.Errorf("Cache-Control: %q", got)
		}
	})
}

// HTTP/2 has no connection-specific headers.
func TestHeadersOfHTTP2(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := broker.NewBroker(map[string]string{"connection": "keep-alive", "Transfer-Encoding": "chunked", "Keep-Alive": "x", "X-Own": "y"})
		t.Cleanup(func() { shut(t, b) })
		must(t, b.Start(t.Context()))
		two := func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0 }
		k := newSink()
		serve(t, k, k, func(w http.ResponseWriter, r *http.Request) error { return b.Serve(w, r, broker.Client{ID: "joe"}) }, two)
		synctest.Wait()
		if k.Header().Get("X-Own") != "y" || k.code() != http.StatusOK {
			t.Errorf("status %d, headers %v", k.code(), k.Header())
		}
		must(t, b.Close())
		refused := newSink()
		r, _ := request(t, two)
		mustBe(t, b.Serve(refused, r, broker.Client{ID: "joe"}), broker.ErrClosed)
		for _, h := range []http.Header{k.Header(), refused.Header()} {
			for _, name := range []string{"Connection", "Transfer-Encoding", "Keep-Alive"} {
				if h.Get(name) != "" {
					t.Errorf("%s: %q", name, h.Get(name))
				}
			}
		}
	})
}

// Whether the writer can stream is known without a bus.
func TestWriterThatCanNotStreamWithoutABus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		wire.cutOff()
		b := broker.NewBroker(nil, broker.WithBackplane(wire))
		t.Cleanup(func() { shut(t, b) })
		k := newSink()
		r, _ := request(t)
		begun := time.Now()
		_, err := b.Connect("joe", deaf{k}, r)
		var unsupported *broker.StreamingUnsupportedError
		if !errors.As(err, &unsupported) || k.code() != http.StatusInternalServerError {
			t.Errorf("error is %v, status %d", err, k.code())
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// A HEAD request is answered like a GET, without a stream.
func TestHead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		k := newSink()
		r := serve(t, k, k, func(w http.ResponseWriter, r *http.Request) error {
			return b.Serve(w, r, broker.Client{ID: "joe"})
		}, func(r *http.Request) { r.Method = http.MethodHead })
		begun := time.Now()
		r.wait()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("took %v", took)
		}
		if k.code() != http.StatusOK || k.Header().Get("Content-Type") != "text/event-stream" {
			t.Errorf("answered %d, %v", k.code(), k.Header())
		}
		synctest.Wait()
		if s := b.Stats(); b.IsClientPresent("joe") || s.Sessions != 0 || s.Refused != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// A writer that panics costs its own connection and nothing else.
type panickingWriter struct{ *sink }

func (p panickingWriter) Write([]byte) (int, error) { panic("in Write") }

func TestWriterThatPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r, _ := request(t)
		conn, err := b.Connect("joe", panickingWriter{newSink()}, r)
		must(t, err)
		<-conn.Done()
		if conn.Err() == nil {
			t.Error("no reason")
		}
		must(t, b.Broadcast(text("x")))
	})
}

type panickingHeaderWriter struct{ *sink }

func (p panickingHeaderWriter) WriteHeader(int) { panic("in WriteHeader") }

func TestWriterThatPanicsBeforeTheStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		gone := 0
		b.SetDisconnectCallback(func(_, _ string) { gone++ })
		for range 2 {
			r, _ := request(t)
			if _, err := b.Connect("joe", panickingHeaderWriter{newSink()}, r); err == nil {
				t.Error("no error")
			}
		}
		synctest.Wait()
		if n := b.Stats().Sessions; n != 0 || gone != 2 || b.IsClientPresent("joe") {
			t.Errorf("%d sessions are left, %d are reported", n, gone)
		}
	})
}
