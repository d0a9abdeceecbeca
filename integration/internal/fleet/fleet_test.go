package fleet

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sseplane/sseplane/integration/internal/bus"
)

// TestNobodyThere: without a replica, a browser's stream is told to come back, and other
// requests fail.
func TestNobodyThere(t *testing.T) {
	f := Start(t, bus.Redis, 1)
	get := func(path string) (*http.Response, string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	if err := f.Replicas[0].Kill(); err != nil {
		t.Fatal(err)
	}
	resp, body := get("/events")
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "text/event-stream" || !strings.Contains(body, "retry: ") {
		t.Errorf("a stream is answered with %s, %s, %q", resp.Status, kind, body)
	}
	if resp, _ := get("/presence"); resp.StatusCode < 500 {
		t.Errorf("another request is answered with %s", resp.Status)
	}
}
