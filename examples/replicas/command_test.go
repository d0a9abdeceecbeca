package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sseplane/sseplane/sse"
)

// command starts the command as a process, and returns the addresses that it prints.
func command(t *testing.T, stderr io.Writer, addresses int, args ...string) (*exec.Cmd, []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for in := bufio.NewScanner(stdout); len(lines) < addresses; {
		if !in.Scan() {
			t.Fatalf("the output ended after %q: %v", lines, cmd.Wait())
		}
		lines = append(lines, in.Text())
	}
	return cmd, lines
}

// TestTerminate: SIGTERM drains a replica, and it exits with 0.
func TestTerminate(t *testing.T) {
	var stderr bytes.Buffer
	cmd, addresses := command(t, &stderr, 1, "-node", "solo", "-listen", "127.0.0.1:0", "-drain", "5s")
	url := addresses[0]
	eventually(t, "it is ready", func() bool { status, _ := call(t, "GET", url+"/readyz", ""); return status == http.StatusOK })
	events, session, _ := open(t, url+"/events?client=joe", "")
	ok(t, "POST", url+"/broadcast", "x")
	next(t, events)

	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if m, err := events.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream did not just end: %+v, %v", m, err)
	}
	if _, told := events.Retry(); !told {
		t.Error("the client was not told when to come back")
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it did not exit with 0: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if want := "client=joe session=" + session; strings.Count(stderr.String(), want) != 1 {
		t.Errorf("no line, or several, with %q in\n%s", want, &stderr)
	}
}

// TestTerminateWithAReaderThatStopsReading: one that takes nothing, not even a goodbye, does not
// keep the replica from ending in time, and in order.
func TestTerminateWithAReaderThatStopsReading(t *testing.T) {
	var stderr bytes.Buffer
	const drain = 2 * time.Second
	cmd, addresses := command(t, &stderr, 1, "-node", "solo", "-listen", "127.0.0.1:0", "-drain", drain.String())
	url := addresses[0]
	eventually(t, "it is ready", func() bool { status, _ := call(t, "GET", url+"/readyz", ""); return status == http.StatusOK })
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /events?client=joe HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is connected", func() bool { status, _ := call(t, "GET", url+"/presence/joe", ""); return status == http.StatusOK })
	eventually(t, "its socket is full", func() bool {
		ok(t, "POST", url+"/broadcast", strings.Repeat("x", 512<<10))
		return ok(t, "GET", url+"/stats", "").(map[string]any)["catchingUp"] == 1.0
	})
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it did not exit with 0: %v", err)
	}
	if took := time.Since(began); took > drain+time.Second {
		t.Errorf("it took %v", took)
	}
	if want := "client=joe session="; strings.Count(stderr.String(), want) != 1 {
		t.Errorf("no line, or several, with %q in\n%s", want, &stderr)
	}
}

// TestTerminateDemo: the demo prints the page's address first, and SIGTERM ends all of it.
func TestTerminateDemo(t *testing.T) {
	var stderr bytes.Buffer
	cmd, addresses := command(t, &stderr, 4, "-listen", "127.0.0.1:0", "-drain", "5s")
	page, err := get(t.Context(), addresses[0], "")
	if err != nil {
		t.Fatal(err)
	}
	_ = page.Body.Close()
	if got := page.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		t.Errorf("the first address has %q", got)
	}
	for i, node := range []string{"a", "b", "c"} {
		if stats := ok(t, "GET", addresses[i+1]+"/stats", "").(map[string]any); stats["node"] != node {
			t.Errorf("address %d is that of %v, want %s", i+1, stats["node"], node)
		}
	}
	answer, err := get(t.Context(), addresses[0]+"/events?topic=ticks", "")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	events := sse.NewDecoder(answer.Body)
	if m := next(t, events); m.Event != "tick" {
		t.Errorf("got %+v, want a tick", m)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = events.Next()
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("the stream broke: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it did not exit with 0: %v\n%s", err, &stderr)
	}
}

func TestBadArguments(t *testing.T) {
	for args, want := range map[string]string{
		"-nonsense":                         "not defined",
		"-lease x":                          "-lease",
		"-drain -1s":                        "-drain",
		"-tick -1s":                         "-tick",
		"page":                              `"page"`,
		"-redis redis://x -nats nats://y":   "exclude",
		"-nats nats://y -stream-replicas 0": "-stream-replicas",
	} {
		var stderr strings.Builder
		err := run(t.Context(), strings.Fields(args), io.Discard, &stderr)
		if !errors.Is(err, errUsage) || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: %v, %.100q", args, err, &stderr)
		}
	}
	for args, want := range map[string]string{
		"-window 1":              "WithWindow",
		"-lease 1ms":             "WithLease",
		"-retention 1ms -node x": "WithRetention",
		"-redis nonsense://x":    "-redis",
		"-listen nowhere:x":      "unknown port",
	} {
		fields := strings.Fields(args)
		if !strings.Contains(args, "-listen") {
			fields = append(fields, "-listen", "127.0.0.1:0")
		}
		err := run(t.Context(), fields, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
