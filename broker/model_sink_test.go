package broker

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// block is one block of an event stream as a browser reads it, with what the bus
// was like when it came.
type block struct {
	clock   int
	at      time.Time
	id      string
	hasID   bool
	event   string
	data    string
	hasData bool
	bounds  backplane.Bounds // of a reset alone
}

// tabSink is the browser's end of a connection. It counts what was written as
// read. It can stall, and it can break at any byte.
type tabSink struct {
	t     *truth
	diary *diary
	name  string

	mu       sync.Mutex
	header   http.Header
	status   int
	rest     []byte
	blocks   []block
	lastID   string
	gone     bool // the browser is not there any more: what is written now never arrives
	stalled  bool
	everSlow bool
	breakIn  int // after so many bytes; 0: not
	deadline time.Time
	changed  chan struct{}
}

func newTabSink(t *truth, lastID string) *tabSink {
	return &tabSink{t: t, header: make(http.Header), changed: make(chan struct{}), lastID: lastID}
}

func (k *tabSink) Header() http.Header { return k.header }

func (k *tabSink) WriteHeader(status int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.status == 0 {
		k.status = status
	}
}

var errTabGone = errors.New("connection reset by peer")

func (k *tabSink) ready() error {
	for {
		k.mu.Lock()
		gone, stalled, deadline, changed := k.gone, k.stalled, k.deadline, k.changed
		k.mu.Unlock()
		switch {
		case gone:
			return errTabGone
		case !stalled:
			return nil
		case deadline.IsZero():
			<-changed
			continue
		}
		left := time.NewTimer(time.Until(deadline))
		select {
		case <-changed:
			left.Stop()
		case <-left.C:
			return os.ErrDeadlineExceeded
		}
	}
}

func (k *tabSink) Write(p []byte) (int, error) {
	if err := k.ready(); err != nil {
		return 0, err
	}
	clock := k.t.tick()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone {
		return 0, errTabGone
	}
	n, err := len(p), error(nil)
	if k.breakIn > 0 {
		if n >= k.breakIn {
			n, err = k.breakIn, errTabGone
			k.gone = true
		} else {
			k.breakIn -= n
		}
	}
	k.read(p[:n], clock)
	return n, err
}

// read takes bytes and parses what is complete of them.
func (k *tabSink) read(p []byte, clock int) {
	k.rest = append(k.rest, p...)
	for {
		i := bytes.Index(k.rest, []byte("\n\n"))
		if i < 0 {
			return
		}
		b := block{clock: clock, at: time.Now()}
		for _, line := range strings.Split(string(k.rest[:i]), "\n") {
			name, value, _ := strings.Cut(line, ":")
			value = strings.TrimPrefix(value, " ")
			switch name {
			case "id":
				b.id, b.hasID = value, true
			case "event":
				b.event = value
			case "data":
				b.data, b.hasData = b.data+value, true
			}
		}
		k.rest = k.rest[i+2:]
		if b.hasID {
			k.lastID = b.id
		}
		if b.event == "reset" {
			b.bounds = k.t.bounds()
		}
		k.diary.note("%s: got %q %s %.20q", k.name, b.id, b.event, strings.TrimRight(b.data, "x"))
		k.blocks = append(k.blocks, b)
	}
}

func (k *tabSink) FlushError() error { return k.ready() }

func (k *tabSink) SetReadDeadline(time.Time) error { return nil }

func (k *tabSink) SetWriteDeadline(at time.Time) error {
	k.change(func() { k.deadline = at })
	return nil
}

func (k *tabSink) change(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
	close(k.changed)
	k.changed = make(chan struct{})
}

func (k *tabSink) stall(on bool) {
	k.change(func() { k.stalled, k.everSlow = on, k.everSlow || on })
}

// leave makes the browser go away: nothing arrives any more.
func (k *tabSink) leave() { k.change(func() { k.gone = true }) }

func (k *tabSink) last() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lastID
}

func (k *tabSink) received() []block {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.blocks
}
