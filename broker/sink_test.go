package broker_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"
)

// sink is an http.ResponseWriter in memory, for tests in a synctest bubble. Like a
// connection it shows to its reader only what has been flushed, stalls when its reader
// does not read, and then fails when the write deadline passes.
type sink struct {
	mu       sync.Mutex
	header   http.Header
	status   int
	wire     bytes.Buffer
	flushed  int
	flushes  int
	writes   int
	stalled  bool
	failure  error
	deadline time.Time
	changed  chan struct{} // closed on each change of stalled, failure and deadline
}

func newSink() *sink { return &sink{header: make(http.Header), changed: make(chan struct{})} }

func (k *sink) Header() http.Header { return k.header }

func (k *sink) WriteHeader(status int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.status == 0 {
		k.status = status
	}
}

func (k *sink) Write(p []byte) (int, error) {
	if err := k.ready(); err != nil {
		return 0, err
	}
	k.WriteHeader(http.StatusOK)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writes++
	return k.wire.Write(p)
}

func (k *sink) FlushError() error {
	if err := k.ready(); err != nil {
		return err
	}
	k.WriteHeader(http.StatusOK)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.flushes++
	k.flushed = k.wire.Len()
	return nil
}

func (k *sink) SetReadDeadline(time.Time) error { return nil }

func (k *sink) SetWriteDeadline(at time.Time) error {
	k.change(func() { k.deadline = at })
	return nil
}

// ready waits until the sink takes bytes, fails, or is past its deadline.
func (k *sink) ready() error {
	for {
		k.mu.Lock()
		stalled, failure, deadline, changed := k.stalled, k.failure, k.deadline, k.changed
		k.mu.Unlock()
		switch {
		case failure != nil:
			return failure
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

func (k *sink) change(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
	close(k.changed)
	k.changed = make(chan struct{})
}

// stall makes the sink take nothing until resume.
func (k *sink) stall()  { k.change(func() { k.stalled = true }) }
func (k *sink) resume() { k.change(func() { k.stalled = false }) }

var errBroken = errors.New("connection reset by peer")

// breakOff makes every write fail from now on.
func (k *sink) breakOff() { k.change(func() { k.failure = errBroken }) }

// text returns what the reader has received.
func (k *sink) text() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return string(k.wire.Bytes()[:k.flushed])
}

// written returns all that was written, flushed or not.
func (k *sink) written() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wire.String()
}

func (k *sink) code() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// deaf is a writer that can not stream: it has no Flush.
type deaf struct{ k *sink }

func (d deaf) Header() http.Header         { return d.k.Header() }
func (d deaf) WriteHeader(status int)      { d.k.WriteHeader(status) }
func (d deaf) Write(p []byte) (int, error) { return d.k.Write(p) }

// simple is a writer that can flush and nothing else, as many a middleware's.
type simple struct{ deaf }

func (s simple) Flush() { _ = s.k.FlushError() }

// wrapper is a middleware's writer that is transparent by Unwrap alone.
type wrapper struct {
	deaf
	inner http.ResponseWriter
}

func (w wrapper) Unwrap() http.ResponseWriter { return w.inner }
