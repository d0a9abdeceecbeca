package broker_test

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sseplane/sseplane/broker"
)

// What the application has set up wrongly is told apart in the answer, and logged.
func TestMisconfiguredIsLogged(t *testing.T) {
	for name, test := range map[string]struct {
		option  broker.Option
		connect broker.ConnectOption
	}{
		"WithLease":   {broker.WithLease(0), broker.FollowTopics("t")},
		"Since":       {broker.WithLease(time.Second), broker.Since(-1)},
		"Reauthorize": {broker.WithLease(time.Second), broker.Reauthorize(0, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				book := new(logbook)
				b := broker.NewBroker(nil, test.option, broker.WithLogger(book.logger()))
				t.Cleanup(func() { shut(t, b) })
				k := newSink()
				r, _ := request(t)
				b.Handler(func(*http.Request) (broker.Client, error) { return broker.Client{ID: "joe"}, nil }, test.connect).ServeHTTP(k, r)
				if k.code() != 500 || strings.TrimSpace(k.written()) != "the broker is misconfigured" {
					t.Errorf("answered %d %q", k.code(), k.written())
				}
				if !book.contains("level=ERROR") || !book.contains(name+":") {
					t.Errorf("logged %q", book.text())
				}
			})
		})
	}
}

// A writer that can not stream is logged with its type, once.
func TestWriterThatCanNotStreamIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		book := new(logbook)
		b := start(t, broker.WithLogger(book.logger()))
		for range 3 {
			k := newSink()
			r, _ := request(t)
			b.Handler(byPath).ServeHTTP(wrapper{deaf{k}, deaf{k}}, r)
			if k.code() != 500 || strings.TrimSpace(k.written()) != "streaming is not possible here" {
				t.Errorf("answered %d %q", k.code(), k.written())
			}
		}
		logged := book.text()
		if strings.Count(logged, "level=WARN") != 1 || !strings.Contains(logged, "writer=broker_test.wrapper") || !strings.Contains(logged, "innermost=broker_test.deaf") {
			t.Errorf("logged %q", logged)
		}
	})
}

// Metadata that can not be kept are the application's fault: 500, and it hears of it.
func TestImpossibleMetadataAreLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		book := new(logbook)
		b := start(t, broker.WithLogger(book.logger()), broker.WithMaxEventSize(100))
		for _, value := range []any{func() {}, strings.Repeat("x", 101)} {
			k := newSink()
			r, _ := request(t)
			if _, err := b.Connect("joe", k, r, broker.Metadata(broker.ClientMetadata{"k": value})); err == nil || k.code() != 500 {
				t.Errorf("error %v, status %d", err, k.code())
			}
		}
		if n := strings.Count(book.text(), "level=ERROR"); n != 2 {
			t.Errorf("logged %q", book.text())
		}
	})
}

// Why somebody was not identified is for the log, at level debug, and not for the client.
func TestIdentifyErrorIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		book := new(logbook)
		b := start(t, broker.WithLogger(slog.New(slog.NewTextHandler(book, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		r := handle(t, b, func(*http.Request) (broker.Client, error) { return broker.Client{}, errors.New("secret reason") })
		r.wait()
		if r.code() != 401 || strings.Contains(r.written(), "secret") || !book.contains(`level=DEBUG msg="sseplane: a request was not identified" error="secret reason"`) {
			t.Errorf("answered %d %q, logged %q", r.code(), r.written(), book.text())
		}
	})
}

// http.TimeoutHandler keeps an answer back until its end.
func TestTimeoutHandlerCanNotStream(t *testing.T) {
	pipes(t, func(t *testing.T, two bool) {
		b := start(t)
		resp, err := pipeServer(t, http.TimeoutHandler(b.Handler(byPath), time.Minute, "late"), two).Get("http://pipe/joe")
		must(t, err)
		_ = resp.Body.Close()
		if resp.StatusCode != 500 {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}

// A client that is nowhere can be disconnected, and the reason stays on the server.
func TestDisconnectNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		must(t, b.Disconnect(t.Context(), "nobody", "tidying up"))
		r := connect(t, b, "joe")
		must(t, b.Disconnect(t.Context(), "joe", "tidying up"))
		r.wait()
		mustBe(t, r.conn.Err(), broker.ErrDisconnected)
		if !strings.Contains(r.conn.Err().Error(), "tidying up") || strings.Contains(r.written(), "tidying") {
			t.Errorf("error %v, stream %q", r.conn.Err(), r.written())
		}
	})
}
