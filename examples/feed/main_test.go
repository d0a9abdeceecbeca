package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// server sends a stream once, in two connections, and then says that there is no more.
func server(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		switch r.Header.Get("Last-Event-ID") {
		case "":
			io.WriteString(w, "retry: 1\n: hello\nid: 1\ndata: <"+r.Header.Get("X-A")+">\n\n")
		case "1":
			io.WriteString(w, "event: price\ndata: 7\ndata: \x1b[2J8\n\nid: 2\nevent: reset\ndata: {\"reason\":\"trimmed\"}\n\n")
		case "gone":
			w.WriteHeader(404)
		default:
			w.WriteHeader(204)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestRun(t *testing.T) {
	url := server(t)
	tests := []struct {
		name             string
		args             string
		terminal, colour bool
		out              string
		status           int
	}{
		{"piped", "-H X-A:x", false, true,
			"{\"id\":\"1\",\"data\":\"<x>\"}\n{\"id\":\"1\",\"event\":\"price\",\"data\":\"7\\n\\u001b[2J8\"}\n{\"id\":\"2\",\"event\":\"reset\",\"data\":\"{\\\"reason\\\":\\\"trimmed\\\"}\"}\n", 0},
		{"terminal", "", true, true,
			"\x1b[36mmessage\x1b[0m \x1b[90m1\x1b[0m <>\n\x1b[36mprice\x1b[0m \x1b[90m1\x1b[0m\n  7\n  \\x1b[2J8\n\x1b[31mreset\x1b[0m \x1b[90m2\x1b[0m {\"reason\":\"trimmed\"}\n", 0},
		{"terminal without colour", "-comments -n 1", true, false, ": hello\nmessage 1 <>\n", 0},
		{"JSON on a terminal", "-json -n 1", true, true, "{\"id\":\"1\",\"data\":\"<>\"}\n", 0},
		{"comments piped", "-comments -n 1", false, true, "{\"comment\":\"hello\"}\n{\"id\":\"1\",\"data\":\"<>\"}\n", 0},
		{"by type", "-type message", true, false, "message 1 <>\n", 0},
		{"continued", "-id 1 -n 1", true, false, "price 1\n  7\n  \\x1b[2J8\n", 0},
		{"refused", "-id gone", false, false, "", 1},
		{"bad header", "-H x", false, false, "", 2},
		{"bad duration", "-idle x", false, false, "", 2},
		{"help", "-h", false, false, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs strings.Builder
			status := run(t.Context(), append(strings.Fields(tt.args), url), &out, &errs, tt.terminal, tt.colour)
			if out.String() != tt.out || status != tt.status {
				t.Errorf("status %d, output\n%q, want %d\n%q\n%s", status, out.String(), tt.status, tt.out, errs.String())
			}
			if status != 0 && errs.Len() == 0 {
				t.Error("nothing says why")
			}
		})
	}
}

func TestNoURL(t *testing.T) {
	for _, args := range [][]string{nil, {"x"}} {
		if status := run(t.Context(), args, io.Discard, io.Discard, false, false); status == 0 {
			t.Errorf("%q: status 0", args)
		}
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	}))
	defer s.Close()
	if status := run(ctx, []string{s.URL}, io.Discard, io.Discard, false, false); status != 0 {
		t.Errorf("status %d", status)
	}
}
