package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// asCommand makes the test binary behave as the command itself.
const asCommand = "REPLICAS_TEST_AS_COMMAND"

// TestMain fails the package when a test has left a goroutine behind.
func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	code := m.Run()
	if left := leftGoroutines(10 * time.Second); left != "" && code == 0 {
		fmt.Fprintf(os.Stderr, "goroutines left after all tests:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

func leftGoroutines(patience time.Duration) string {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		var left []string
		for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if !strings.Contains(stack, ".leftGoroutines(") && (strings.Contains(stack, "sseplane/sseplane/") || strings.Contains(stack, "net/http.")) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return strings.Join(left, "\n\n")
		}
	}
}

// httpClient keeps no connections, so that none is left when a test ends.
var httpClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// testConfig is what the flags say in tests: everything soon.
func testConfig(t *testing.T, args ...string) config {
	t.Helper()
	args = append([]string{"-listen", "127.0.0.1:0", "-lease", "500ms", "-drain", "5s"}, args...)
	cfg, err := parseConfig(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// records is a log that a test can look at: the disconnect callbacks in it.
type records struct {
	mu           sync.Mutex // guards the rest
	disconnected map[string][]string
}

func (r *records) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(r, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// Write takes one line of the log.
func (r *records) Write(line []byte) (int, error) {
	var record struct{ Msg, Node, Client, Session string }
	if err := json.Unmarshal(line, &record); err != nil {
		return 0, err
	}
	if record.Msg == "disconnected" {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.disconnected == nil {
			r.disconnected = make(map[string][]string)
		}
		r.disconnected[record.Session] = append(r.disconnected[record.Session], record.Node)
	}
	return len(line), nil
}

// of returns the nodes that have reported the end of a session.
func (r *records) of(session string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.disconnected[session]
}

// single starts one replica alone, and returns its address.
func single(t *testing.T, bus backplane.Backplane, args ...string) (*replica, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, err := startReplica("solo", ln, testConfig(t, args...), bus, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.die)
	return r, "http://" + r.addr
}

// whole starts the demo, and returns its page's address.
func whole(t *testing.T, args ...string) (*demo, *records, string) {
	t.Helper()
	log := new(records)
	d, err := startDemo(t.Context(), testConfig(t, args...), backplane.NewMemory(), log.logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	return d, log, "http://" + d.addr
}

// call sends a request and returns the status and the JSON of the answer.
func call(t *testing.T, method, url, body string) (int, any) {
	t.Helper()
	status, answer, err := try(t.Context(), method, url, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return status, answer
}

func try(ctx context.Context, method, url, body string) (int, any, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	answer, err := httpClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, nil, err
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return 0, nil, fmt.Errorf("status %d, body %q: %w", answer.StatusCode, bytes.TrimSpace(text), err)
	}
	return answer.StatusCode, value, nil
}

// ok sends a request that must be answered with 200.
func ok(t *testing.T, method, url, body string) any {
	t.Helper()
	status, answer := call(t, method, url, body)
	if status != http.StatusOK {
		t.Fatalf("%s %s: status %d, %v", method, url, status, answer)
	}
	return answer
}

// eventually waits for something that is under way.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after 20 s: %s", what)
		}
	}
}

// same compares a JSON value with what is expected.
func same(t *testing.T, what string, got any, want string) {
	t.Helper()
	g, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if string(g) != want {
		t.Errorf("%s: got %s, want %s", what, g, want)
	}
}
