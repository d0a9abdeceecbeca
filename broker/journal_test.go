package broker_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sseplane/sseplane/broker"
)

// journal is a list of lines that callbacks write.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// all returns the lines, sorted.
func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Sorted(slices.Values(j.lines))
}

func (j *journal) wants(t testing.TB, lines ...string) {
	t.Helper()
	slices.Sort(lines)
	if got := j.all(); !slices.Equal(got, lines) {
		t.Errorf("noted %q, want %q", got, lines)
	}
}

// hooks returns hooks that write to the journal, as node who.
func (j *journal) hooks(who string) broker.Hooks {
	return broker.Hooks{
		SessionJoined: func(client, session string) { j.note("%s: session of %s joined", who, client) },
		SessionLeft:   func(client, session string) { j.note("%s: session of %s left", who, client) },
		ClientJoined:  func(client string) { j.note("%s: client %s joined", who, client) },
		ClientLeft:    func(client string) { j.note("%s: client %s left", who, client) },
	}
}

// logbook is what a broker logs.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) contains(s string) bool { return strings.Contains(l.text(), s) }

func (l *logbook) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
