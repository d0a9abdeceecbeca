package main

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/sseplane/sseplane/backplane"
)

// TestRoundRobin: streams are spread evenly, over the replicas that are ready, and all
// replicas know of all of them.
func TestRoundRobin(t *testing.T) {
	d, _, url := whole(t, "-tick", "0")
	for i := range 6 {
		open(t, url+"/events?client=tab-"+strconv.Itoa(i), "")
	}
	ok(t, "POST", url+"/demo/replicas/b/stop", "")
	eventually(t, "b is stopped", func() bool { return slotOf(t, url, "b").State == stopped })
	for i := range 4 {
		open(t, url+"/events?client=more-"+strconv.Itoa(i), "")
	}
	for name, want := range map[string]int{"a": 4, "b": 0, "c": 4} {
		if s := slotOf(t, url, name); s.Sessions != want {
			t.Errorf("replica %s has %d sessions, want %d", name, s.Sessions, want)
		}
	}
	for _, r := range d.running() {
		if all := ok(t, "GET", "http://"+r.addr+"/presence", "").([]any); len(all) != 8 {
			t.Errorf("replica %s knows of %d clients, want 8", r.name, len(all))
		}
	}
}

// TestNobody: without any replica the page is still there, and an EventSource does not
// give up.
func TestNobody(t *testing.T) {
	_, _, url := whole(t, "-tick", "0")
	for _, name := range []string{"a", "b", "c"} {
		ok(t, "POST", url+"/demo/replicas/"+name+"/kill", "")
	}
	answer, err := get(t.Context(), url+"/events", "")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" || string(body) != "retry: 500\n\n" {
		t.Errorf("status %d, %q, %v", answer.StatusCode, body, err)
	}
	status, refused := call(t, "POST", url+"/broadcast", "x")
	if status != http.StatusServiceUnavailable || refused.(map[string]any)["error"] == "" {
		t.Errorf("a broadcast is answered with %d, %v", status, refused)
	}
	ok(t, "POST", url+"/demo/replicas/b/start", "")
	eventually(t, "b is ready", func() bool { return slotOf(t, url, "b").Ready })
	ok(t, "POST", url+"/broadcast", "x")
	if s := slotOf(t, url, "b"); s.Starts != 2 {
		t.Errorf("b has been started %d times, want 2", s.Starts)
	}
}

func TestControlErrors(t *testing.T) {
	_, _, url := whole(t, "-tick", "0")
	ok(t, "POST", url+"/demo/replicas/c/kill", "")
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/demo/replicas/d/stop", 404},
		{"POST", "/demo/replicas/a/start", 409},
		{"POST", "/demo/replicas/c/stop", 409},
		{"POST", "/demo/replicas/c/kill", 409},
		{"POST", "/demo/replicas/a/pause", 404},
		{"GET", "/demo/replicas/a/stop", 405},
		{"POST", "/demo/replicas", 405},
		{"GET", "/nothing", 404}, // the proxy's
	} {
		status, answer := call(t, tt.method, url+tt.path, "")
		if sentence, _ := answer.(map[string]any)["error"].(string); status != tt.status || sentence == "" {
			t.Errorf("%s %s: status %d, want %d, %v", tt.method, tt.path, status, tt.status, answer)
		}
	}
}

// TestPortTaken: what can not start leaves nothing behind.
func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	// The page would get the port before it, or that is taken too: either is an error.
	cfg := testConfig(t, "-listen", net.JoinHostPort("127.0.0.1", strconv.Itoa(port-1)))
	if d, err := startDemo(t.Context(), cfg, backplane.NewMemory(), slog.New(slog.DiscardHandler)); err == nil {
		_ = d.stop(cfg.drain)
		t.Error("no error")
	}
}

// TestPage: the page is whole, and has nothing from elsewhere.
func TestPage(t *testing.T) {
	_, _, url := whole(t, "-tick", "0")
	for path, kind := range map[string]string{"/": "text/html", "/style.css": "text/css", "/app.js": "text/javascript", "/tally.js": "text/javascript"} {
		answer, err := get(t.Context(), url+path, "")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || !strings.HasPrefix(got, kind) {
			t.Errorf("%s: status %d, type %q", path, answer.StatusCode, got)
		}
		if policy := answer.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'self'") {
			t.Errorf("%s: policy %q", path, policy)
		}
		for _, bad := range []string{"//fonts.", "src=\"http", "href=\"http", "innerHTML", "insertAdjacentHTML"} {
			if strings.Contains(string(body), bad) {
				t.Errorf("%s contains %q", path, bad)
			}
		}
	}
}
