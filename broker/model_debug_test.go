package broker

import (
	"bytes"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

var modelTrace = flag.String("model.trace", "", "write what happened in a failed run to a file in this folder")

// diary is what happened in a run, for people.
type diary struct {
	mu    sync.Mutex
	text  bytes.Buffer
	begun time.Time
}

func (d *diary) Write(p []byte) (int, error) {
	d.note("%s", bytes.TrimRight(p, "\n"))
	return len(p), nil
}

func (d *diary) note(format string, args ...any) {
	if *modelTrace == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun.IsZero() {
		d.begun = time.Now()
	}
	d.text.WriteString(sprintf("%10s ", time.Since(d.begun).Round(time.Microsecond)))
	d.text.WriteString(sprintf(format, args...))
	d.text.WriteByte('\n')
}

func (d *diary) logger(node string) *slog.Logger {
	if *modelTrace == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(d, nil)).With("node", node)
}

func (d *diary) save(seed uint64) {
	if *modelTrace != "" {
		_ = os.WriteFile(filepath.Join(*modelTrace, sprintf("model-%d.txt", seed)), d.text.Bytes(), 0o644)
	}
}
