// Package chaos runs replicas behind a load balancer, clients and publishers, breaks
// things in a random order that a seed decides, and checks from the records of all
// involved that the promise was kept: every accepted event once and in order, or an
// announced reset; presence that is true; one report for each session that ended.
package chaos

import (
	"bufio"
	"encoding/json"
	"os"
	"sync"
	"time"
)

// The kinds of records.
const (
	Opened    = "opened"    // a client got a stream
	Served    = "served"    // from a replica
	Closed    = "closed"    // and it ended
	Received  = "received"  // an event
	WasReset  = "reset"     // and was told that something may be missing
	Published = "published" // the bus accepted an event
	Doubted   = "doubted"   // an attempt to publish ended without an answer, and is made again
	Fault     = "fault"     // something was broken, or healed
	Ended     = "ended"     // a replica reported a session's end
)

// Record is one thing that happened.
type Record struct {
	At       float64 `json:"at"` // seconds since the beginning
	Kind     string  `json:"kind"`
	Client   string  `json:"client,omitempty"`
	Session  string  `json:"session,omitempty"`
	Node     string  `json:"node,omitempty"`
	Topic    string  `json:"topic,omitempty"`
	N        int     `json:"n,omitempty"` // number of the event on its topic, from 1
	Position string  `json:"position,omitempty"`
	Note     string  `json:"note,omitempty"`
}

// History is all that happened, in the order in which it was recorded.
type History struct {
	start time.Time

	mu      sync.Mutex // guards records
	records []Record
}

// NewHistory begins a history.
func NewHistory() *History { return &History{start: time.Now()} }

// Add adds a record, with the time.
func (h *History) Add(r Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.At = h.since(time.Now())
	h.records = append(h.records, r)
}

func (h *History) since(t time.Time) float64 { return t.Sub(h.start).Round(time.Millisecond).Seconds() }

// Records returns what was added so far.
func (h *History) Records() []Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Record(nil), h.records...)
}

// Save writes the history as JSON, one record a line.
func (h *History) Save(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	lines := json.NewEncoder(w)
	for _, r := range h.Records() {
		if err := lines.Encode(r); err != nil {
			_ = file.Close()
			return err
		}
	}
	if err := w.Flush(); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}

// insert adds a record that has its time already.
func (h *History) insert(r Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records = append(h.records, r)
}
