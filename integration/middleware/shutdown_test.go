package middleware

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/sseplane/sseplane/broker"
)

// TestShutdown: http.Server.Shutdown with open streams ends within its context,
// whichever protocol they use, and tells the clients to come back.
func TestShutdown(t *testing.T) {
	t.Parallel()
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			t.Run("drained", func(t *testing.T) { t.Parallel(); testShutdown(t, p, drain) })
			t.Run("closed", func(t *testing.T) { t.Parallel(); testShutdown(t, p, shut) })
			t.Run("behind middleware", func(t *testing.T) { t.Parallel(); testShutdown(t, p, drain, behindGin) })
			t.Run("client that reads nothing", func(t *testing.T) { t.Parallel(); testShutdownStalled(t, p) })
		})
	}
}

const shutdownTime = 5 * time.Second

// drain is how the documentation says that it is done.
func drain(t *testing.T, b *broker.Broker, ctx context.Context) {
	if err := b.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown of the broker: %v", err)
	}
}

// shut ends the streams at once.
func shut(t *testing.T, b *broker.Broker, _ context.Context) {
	if err := b.Close(); err != nil {
		t.Errorf("Close of the broker: %v", err)
	}
}

func behindGin(h http.Handler) http.Handler { return underGin(h) }

func testShutdown(t *testing.T, p protocol, end func(*testing.T, *broker.Broker, context.Context), wrap ...func(http.Handler) http.Handler) {
	b := newBroker(t)
	h := handler(b)
	for _, w := range wrap {
		h = w(h)
	}
	server, c := p.serve(t, h)
	const streams = 20
	var open20 []*stream
	for i := range streams {
		s, err := open(t, c, server.URL+"/events?client="+strconv.Itoa(i), "")
		if err != nil {
			t.Fatal(err)
		}
		open20 = append(open20, s)
	}
	publish(t, b, "hello")
	for _, s := range open20 {
		if _, err := s.until("hello"); err != nil {
			t.Fatal(err)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), shutdownTime)
	defer cancel()
	ended := make(chan struct{})
	server.Config.RegisterOnShutdown(func() {
		defer close(ended)
		end(t, b, ctx)
	})
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown of the server: %v", err)
	}
	<-ended
	for _, s := range open20 {
		if _, err := s.until("retry: "); err != nil {
			t.Fatalf("the farewell: %v", err)
		}
		if err := s.end(); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.Stats().Sessions; n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// testShutdownStalled: a client that has stopped to read can not hold up the end for
// longer than the context.
func testShutdownStalled(t *testing.T, p protocol) {
	b := newBroker(t, broker.WithMaxEventSize(8<<20))
	server, c := p.serve(t, handler(b))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/events?client=stalled", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	publish(t, b, string(make([]byte, 6<<20))) // more than the sockets hold

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	ended := make(chan struct{})
	server.Config.RegisterOnShutdown(func() {
		defer close(ended)
		_ = b.Shutdown(ctx) // may be cut short
	})
	start := time.Now()
	_ = server.Config.Shutdown(ctx)
	_ = server.Config.Close()
	<-ended
	if took := time.Since(start); took > 2*time.Second+patience {
		t.Errorf("it took %v, with 2 s to do it", took)
	}
	gone(t, b)
}
