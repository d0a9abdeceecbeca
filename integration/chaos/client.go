package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/sseplane/sseplane/client"
)

// idleTime is how long a client hears nothing before it takes its connection for dead:
// more than a heartbeat interval (15 s).
const idleTime = 20 * time.Second

// reader is a client that records what it gets, and knows how far it is.
type reader struct {
	name    string
	topics  []string // that it asks for; broadcasts and its own come besides
	base    string
	http    *http.Client
	history *History

	mu      sync.Mutex     // guards the rest
	session string         // of its stream, "" while there is none
	all     map[string]int // sessions that it has had
	last    map[string]int // by topic
}

func (r *reader) url() string {
	return r.base + "/events?" + url.Values{"client": {r.name}, "topic": r.topics, "hello": {"1"}}.Encode()
}

func (r *reader) opened(session string) {
	r.mu.Lock()
	r.session = session
	r.all[session]++
	r.mu.Unlock()
	r.history.Add(Record{Kind: Opened, Client: r.name, Session: session})
}

func (r *reader) closed(reason error) {
	r.mu.Lock()
	session := r.session
	r.session = ""
	r.mu.Unlock()
	if session == "" {
		return
	}
	note := ""
	if reason != nil {
		note = reason.Error()
	}
	r.history.Add(Record{Kind: Closed, Client: r.name, Session: session, Note: note})
}

func (r *reader) received(id, event, data string) {
	if event == "reset" {
		r.history.Add(Record{Kind: WasReset, Client: r.name, Position: id, Note: data})
		return
	}
	if event == "hello" {
		r.served(data)
		return
	}
	topic, n, err := decode(data)
	note := ""
	if err != nil {
		note = err.Error()
	}
	r.history.Add(Record{Kind: Received, Client: r.name, Topic: topic, N: n, Position: id, Note: note})
	r.mu.Lock()
	r.last[topic] = n
	r.mu.Unlock()
}

// served notes which replica serves the stream: it says so first.
func (r *reader) served(hello string) {
	var by struct{ Session, Node string }
	if err := json.Unmarshal([]byte(hello), &by); err == nil {
		r.history.Add(Record{Kind: Served, Client: r.name, Session: by.Session, Node: by.Node})
	}
}

// progress returns the session that is open and the last number of each topic.
func (r *reader) progress() (session string, last map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.session, maps.Clone(r.last)
}

// sessions returns all sessions that it has had.
func (r *reader) sessions() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for s := range r.all {
		out = append(out, s)
	}
	return out
}

// runOurs reads with package client until ctx ends.
func (r *reader) runOurs(ctx context.Context) error {
	stream, err := client.Open(ctx, r.url(),
		client.WithHTTPClient(r.http),
		client.WithIdleTimeout(idleTime),
		client.WithBackoff(2*time.Second, 10*time.Second),
		client.WithOpenHook(func(resp *http.Response) {
			if session := resp.Header.Get("Sse-Session"); session != "" {
				r.opened(session)
			}
		}),
		client.WithReconnectHook(func(reason error, _ time.Duration) { r.closed(reason) }),
	)
	if err != nil {
		return err
	}
	defer stream.Close()
	for event, err := range stream.Events() {
		if err != nil {
			r.closed(err)
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
		r.received(event.GetId(), event.GetEvent(), event.GetData())
	}
	return nil
}
