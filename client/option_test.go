package client_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

func TestLastEventIDAsHeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := serve()
		collect(open(t, server, client.WithHeader("last-event-id", "7")))
		if server.ids() != "7" {
			t.Error(server.ids())
		}
	})
}

func TestDefaultLimits(t *testing.T) {
	const most = 16 << 20
	line := func(n int) string { return "data: " + strings.Repeat("x", n-len("data: ")) + "\n" }
	half := line(most / 2)
	tests := []struct {
		name, in string
		want     error
	}{
		{"longest line", line(most) + "\n", client.ErrNoContent},
		{"line too long", line(most+1) + "\n", sse.ErrLineTooLong},
		{"large event", half + half + "\n", client.ErrNoContent},
		{"event too large", half + half + line(20) + "\n", sse.ErrEventTooLarge},
	}
	for _, tt := range tests {
		bubble(t, func(t *testing.T) {
			n := 0
			var last error
			for _, err := range open(t, serve(text(tt.in))).Events() {
				if last = err; err == nil {
					n++
				}
			}
			if !errors.Is(last, tt.want) || (n == 1) != (tt.want == client.ErrNoContent) {
				t.Errorf("%s: %d events, %v", tt.name, n, last)
			}
		})
	}
}

func TestLogger(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log strings.Builder
		collect(open(t, serve(text("data: a\n\n"), status(503), status(200, "Content-Type", "text/html")),
			client.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))))
		for _, want := range []string{"event stream opened", "EOF", "503 Service Unavailable", "text/html", "ended"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("nothing of %q in:\n%s", want, &log)
			}
		}
	})
	if err := (&client.ContentTypeError{ContentEncoding: "br"}).Error(); !strings.Contains(err, `"br"`) {
		t.Error(err)
	}
}

func TestBadOptionsAreNamed(t *testing.T) {
	tests := map[string]client.Option{
		"WithMethod":       client.WithMethod("GE T"),
		"WithHeader":       client.WithHeader("a b", "x"),
		"bad name":         client.WithHeader("", "x"),
		"control":          client.WithHeader("A", "x\ny"),
		"WithHTTPClient":   client.WithHTTPClient(nil),
		"WithLastEventID":  client.WithLastEventID("a\x00"),
		"cannot be sent":   client.WithLastEventID("\xFF"),
		"WithRetry(":       client.WithRetry(0),
		"WithBackoff":      client.WithBackoff(0, 0),
		"WithIdleTimeout":  client.WithIdleTimeout(-1),
		"WithRetryStatus":  client.WithRetryStatus(nil),
		"WithLimits(0, 1)": client.WithLimits(0, 1),
		"WithBuffer":       client.WithBuffer(0),
		"WithLogger":       client.WithLogger(nil),
		"url \"b\"":        client.WithURLs("b"),
	}
	for want, option := range tests {
		s, err := client.Open(t.Context(), address, option)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to say %q", err, want)
		}
	}
}
