package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

// replica is an address where one broker after another serves.
type replica struct {
	t      *testing.T
	bus    *backplane.Memory
	server *httptest.Server
	broker atomic.Pointer[broker.Broker]
}

func newReplica(t *testing.T, bus *backplane.Memory) *replica {
	r := &replica{t: t, bus: bus}
	r.server = httptest.NewServer(r)
	r.start()
	return r
}

func (r *replica) start() {
	b := broker.NewBroker(nil, broker.WithBackplane(r.bus), broker.WithRetry(100*time.Millisecond, 50*time.Millisecond))
	if err := b.Start(r.t.Context()); err != nil {
		r.t.Error(err)
	}
	r.broker.Store(b)
}

func (r *replica) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	b := r.broker.Load()
	if b == nil {
		panic(http.ErrAbortHandler)
	}
	b.Handler(func(req *http.Request) (broker.Client, error) {
		return broker.Client{ID: req.URL.Query().Get("client"), Topics: []string{"numbers"}}, nil
	}).ServeHTTP(w, req)
}

// drain stops the broker as a deploy does.
func (r *replica) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	r.broker.Load().Shutdown(ctx)
	r.broker.Store(nil)
}

// crash cuts all connections first.
func (r *replica) crash() {
	b := r.broker.Swap(nil)
	r.server.CloseClientConnections()
	b.Close()
}

func (r *replica) stop() {
	if b := r.broker.Load(); b != nil {
		b.Close()
	}
	r.server.Close()
}

// Every client gets every number once and in order, while each replica in turn is drained or dies and comes back.
func TestExactThroughRestartsOfAllReplicas(t *testing.T) {
	bus := backplane.NewMemory()
	var replicas []*replica
	for range 3 {
		r := newReplica(t, bus)
		defer r.stop()
		replicas = append(replicas, r)
	}
	const clients, perPhase = 20, 60
	var readers []*reader
	for i := range clients {
		r := &reader{t: t, name: strconv.Itoa(i), first: make(chan struct{})}
		r.change.L = &r.mu
		r.run(replicas, i)
		defer r.close()
		readers = append(readers, r)
	}

	published := 0
	// publish sends a number through whichever replica takes it, as often as it needs.
	publish := func() {
		n := published
		published++
		e := sse.StringEvent{Event: "number", Data: strconv.Itoa(n)}
		if n%7 == 0 {
			e.Id = fmt.Sprintf("author's %d", n)
		}
		for i := n; ; i++ {
			b := replicas[i%len(replicas)].broker.Load()
			if b == nil {
				continue
			}
			_, err := b.Publish(t.Context(), broker.Topics("numbers"), e, broker.IdempotencyKey(strconv.Itoa(n)))
			if err == nil {
				return
			}
			if t.Context().Err() != nil {
				t.Fatal(err)
			}
		}
	}
	await := func() {
		for _, r := range readers {
			r.await(published - 1)
		}
	}
	// A client without a cursor starts wherever its node stands: publish until each has begun.
	for _, r := range readers {
		for begun := false; !begun; {
			publish()
			select {
			case <-r.first:
				begun = true
			case <-time.After(time.Millisecond):
			}
		}
	}
	await()

	for i := range 2 * len(replicas) {
		r := replicas[i%len(replicas)]
		var down sync.WaitGroup
		down.Go(func() {
			if i < len(replicas) {
				r.drain()
			} else {
				r.crash()
			}
		})
		for range perPhase / 2 {
			publish()
		}
		down.Wait()
		for range perPhase / 2 {
			publish()
		}
		await()
		r.start()
	}
	reconnects := 0
	for _, r := range readers {
		reconnects += int(r.opens.Load()) - 1
	}
	if reconnects < clients {
		t.Errorf("%d reconnects: the restarts did not reach the clients", reconnects)
	}
	t.Logf("%d numbers, %d clients, %d reconnects", published, clients, reconnects)
}

// A client whose place is not in the log any more is told so, and continues.
func TestResetByABroker(t *testing.T) {
	before := newReplica(t, backplane.NewMemory())
	defer before.stop()
	lost, err := before.broker.Load().Publish(t.Context(), broker.Topics("numbers"), sse.StringEvent{Data: "lost"})
	if err != nil {
		t.Fatal(err)
	}
	r := newReplica(t, backplane.NewMemory())
	defer r.stop()
	defer http.DefaultClient.CloseIdleConnections()
	s, err := client.Open(t.Context(), r.server.URL+"?client=a", client.WithLastEventID(lost.String()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	resets, err := s.Subscribe("reset")
	if err != nil {
		t.Fatal(err)
	}
	var reset client.Reset
	for e, err := range s.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := e.(client.Reset); ok {
			if e.Reason == "" || e.GetId() == "" || e.GetId() == lost.String() {
				t.Errorf("%+v", e)
			}
			reset = e
			if _, err := r.broker.Load().Publish(t.Context(), broker.Topics("numbers"), sse.StringEvent{Data: "next"}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if e.GetData() != "next" || reset.Reason == "" {
			t.Errorf("%+v after %+v", e, reset)
		}
		break
	}
	if e := <-resets.Feed(); e != reset {
		t.Errorf("by type: %+v, want %+v", e, reset)
	}
}

// reader checks that the numbers which a client gets follow on each other.
type reader struct {
	t      *testing.T
	name   string
	stream *client.Stream
	done   sync.WaitGroup
	first  chan struct{}
	opens  atomic.Int32

	mu     sync.Mutex // guards last
	change sync.Cond
	last   int
}

func (r *reader) run(replicas []*replica, start int) {
	var urls []string
	for i := range replicas {
		urls = append(urls, replicas[(start+i)%len(replicas)].server.URL+"?client="+r.name)
	}
	stream, err := client.Open(context.Background(), urls[0], client.WithURLs(urls[1:]...), client.WithRetry(100*time.Millisecond),
		client.WithBackoff(200*time.Millisecond, time.Second), client.WithOpenHook(func(*http.Response) { r.opens.Add(1) }))
	if err != nil {
		r.t.Fatal(err)
	}
	r.stream, r.last = stream, -1
	r.done.Go(r.read)
}

func (r *reader) read() {
	for e, err := range r.stream.Events() {
		if err != nil {
			r.t.Errorf("client %s ended: %v", r.name, err)
			r.set(1 << 30)
			return
		}
		if reset, ok := e.(client.Reset); ok {
			r.t.Errorf("client %s: reset: %s", r.name, reset.Reason)
			continue
		}
		n, err := strconv.Atoi(e.GetData())
		if err != nil {
			r.t.Errorf("client %s: %v", r.name, err)
			continue
		}
		switch {
		case r.last < 0:
			close(r.first)
		case n != r.last+1:
			r.t.Errorf("client %s: %d after %d", r.name, n, r.last)
		}
		r.set(n)
	}
}

func (r *reader) set(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = n
	r.change.Broadcast()
}

// await waits until the client has got to a number.
func (r *reader) await(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.last < n {
		r.change.Wait()
	}
}

func (r *reader) close() {
	r.stream.Close()
	r.done.Wait()
}
