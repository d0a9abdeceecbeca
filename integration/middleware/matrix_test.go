// Package middleware puts the broker below other people's routers and middleware, and
// proves that its streams work there or fail at once.
package middleware

import (
	"compress/gzip"
	"context"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/felixge/httpsnoop"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/handlers"
	"github.com/labstack/echo/v4"
	echomiddleware "github.com/labstack/echo/v4/middleware"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

// arrangement is a way to put a handler into a service.
type arrangement struct {
	name string
	wrap func(http.Handler) http.Handler
	// refused: no stream is possible, and the client is told so at once.
	refused bool
}

var arrangements = []arrangement{
	{name: "nothing", wrap: func(h http.Handler) http.Handler { return h }},
	{name: "ServeMux", wrap: func(h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("GET /events", h)
		return mux
	}},
	{name: "chi", wrap: func(h http.Handler) http.Handler {
		return underChi(h, chimiddleware.RequestID, chimiddleware.CleanPath, chiLogger, chimiddleware.Recoverer,
			chimiddleware.Throttle(100))
	}},
	{name: "chi Compress", wrap: func(h http.Handler) http.Handler {
		return underChi(h, chimiddleware.Compress(gzip.BestSpeed))
	}},
	{name: "chi Compress of event streams", wrap: func(h http.Handler) http.Handler {
		return underChi(h, chimiddleware.Compress(gzip.BestSpeed, "text/event-stream"))
	}},
	{name: "gin", wrap: func(h http.Handler) http.Handler { return underGin(h) }},
	{name: "echo", wrap: func(h http.Handler) http.Handler { return underEcho(h) }},
	{name: "echo Gzip", wrap: func(h http.Handler) http.Handler { return underEcho(h, echomiddleware.Gzip()) }},
	{name: "echo in a wrapper with Unwrap alone", wrap: func(h http.Handler) http.Handler {
		return unwrapOnly(underEcho(h))
	}},
	{name: "gorilla", wrap: func(h http.Handler) http.Handler {
		h = handlers.CORS(handlers.AllowedOrigins([]string{"https://example.com"}))(h)
		h = handlers.ProxyHeaders(handlers.RecoveryHandler()(h))
		return handlers.CombinedLoggingHandler(io.Discard, h)
	}},
	{name: "gorilla CompressHandler", wrap: handlers.CompressHandler},
	{name: "otelhttp", wrap: func(h http.Handler) http.Handler { return otelhttp.NewHandler(h, "events") }},
	{name: "httpsnoop", wrap: func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = httpsnoop.CaptureMetrics(h, w, r) })
	}},
	{name: "a wrapper with Unwrap alone", wrap: unwrapOnly},
	{name: "http.TimeoutHandler", refused: true, wrap: func(h http.Handler) http.Handler {
		return http.TimeoutHandler(h, time.Hour, "too slow")
	}},
	{name: "a wrapper without Unwrap", refused: true, wrap: func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
		})
	}},
}

func TestMatrix(t *testing.T) { testAll(t, arrangements) }

// testAll tests each arrangement with each protocol.
func testAll(t *testing.T, arrangements []arrangement) {
	for _, a := range arrangements {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			for _, p := range protocols {
				t.Run(p.name, func(t *testing.T) {
					t.Parallel()
					if a.refused {
						testRefused(t, a, p)
					} else {
						testStreams(t, a, p)
					}
				})
			}
		})
	}
}

// testStreams: events arrive when they are published, a resumed stream opens although
// it has nothing to say, and a client that leaves is noticed.
func testStreams(t *testing.T, a arrangement, p protocol) {
	b := newBroker(t)
	server, c := p.serve(t, a.wrap(handler(b)))
	url := server.URL + "/events?client=joe"

	s, err := open(t, c, url, "")
	if err != nil {
		t.Fatal(err)
	}
	if s.ProtoMajor != p.major {
		t.Fatalf("HTTP/%d was spoken, want %d", s.ProtoMajor, p.major)
	}
	checkAnswer(t, s)
	publish(t, b, "first")
	if _, err := s.until("first"); err != nil {
		t.Fatal(err)
	}
	// Longer than the timeouts of the server.
	wait(t, 1100*time.Millisecond)
	position := publish(t, b, "second")
	if _, err := s.until("second"); err != nil {
		t.Fatal(err)
	}
	s.close()
	gone(t, b)

	s, err = open(t, c, url, position.String())
	if err != nil {
		t.Fatalf("resuming: %v", err)
	}
	checkAnswer(t, s)
	publish(t, b, "third")
	if _, err := s.until("third"); err != nil {
		t.Fatalf("resuming: %v", err)
	}
}

// testRefused: the client gets an error with a reason at once, and no session stays.
func testRefused(t *testing.T, a arrangement, p protocol) {
	b := newBroker(t)
	server, c := p.serve(t, a.wrap(handler(b)))
	s, err := open(t, c, server.URL+"/events?client=joe", "")
	if err != nil {
		t.Fatal(err)
	}
	if s.StatusCode != http.StatusInternalServerError {
		t.Errorf("status %d, want 500", s.StatusCode)
	}
	if _, err := s.until("streaming"); err != nil {
		t.Errorf("the reason: %v", err)
	}
	gone(t, b)
}

func checkAnswer(t *testing.T, s *stream) {
	t.Helper()
	if s.StatusCode != http.StatusOK {
		t.Fatalf("status %s", s.Status)
	}
	if got := s.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Fatalf("Content-Type %q", got)
	}
	if s.Header.Get("Content-Length") != "" {
		t.Error("a stream has no Content-Length")
	}
}

func publish(t *testing.T, b *broker.Broker, data string) broker.Position {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	position, err := b.Publish(ctx, broker.Topics("news"), sse.StringEvent{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	return position
}

// gone waits until the broker has no session.
func gone(t *testing.T, b *broker.Broker) {
	t.Helper()
	for end := time.Now().Add(patience); b.Stats().Sessions > 0; {
		if time.Now().After(end) {
			t.Fatalf("%d sessions are left after %v", b.Stats().Sessions, patience)
		}
		wait(t, 5*time.Millisecond)
	}
}

// wait lets time pass where time is what is tested, or between two looks.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

func underChi(h http.Handler, middleware ...func(http.Handler) http.Handler) http.Handler {
	r := chi.NewRouter()
	r.Use(middleware...)
	r.Method(http.MethodGet, "/events", h)
	return r
}

func chiLogger(h http.Handler) http.Handler {
	return chimiddleware.RequestLogger(&chimiddleware.DefaultLogFormatter{Logger: log.New(io.Discard, "", 0), NoColor: true})(h)
}

func underGin(h http.Handler) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.LoggerWithWriter(io.Discard), gin.RecoveryWithWriter(io.Discard))
	r.GET("/events", gin.WrapH(h))
	return r
}

func underEcho(h http.Handler, middleware ...echo.MiddlewareFunc) http.Handler {
	e := echo.New()
	e.Use(echomiddleware.Recover())
	e.Use(middleware...)
	e.GET("/events", echo.WrapHandler(h))
	return e
}

// unwrapOnly wraps the writer as http.ResponseController's documentation asks for,
// and does nothing more.
func unwrapOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrapper{w}, r) })
}

type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }
