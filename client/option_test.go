package client_test

import (
	"strings"
	"testing"

	"github.com/sseplane/sseplane/client"
)

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
