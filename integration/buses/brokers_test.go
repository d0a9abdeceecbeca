package buses

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/integration/internal/bus"
	"github.com/sseplane/sseplane/sse"
)

const (
	nodes   = 3
	readers = 12
	events  = 60 // of each node
)

// patience is how long a test waits for what must come about.
const patience = time.Minute

// testBrokers runs three nodes on the bus, moves clients from one to another while all
// of them publish, and wants every event once and in order.
func testBrokers(t *testing.T, b *bus.Bus) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var all []*node
	for i := range nodes {
		all = append(all, startNode(t, ctx, b, fmt.Sprintf("node-%d", i)))
	}
	var streams []*reader
	for i := range readers {
		streams = append(streams, startReader(t, ctx, all, i))
	}
	for _, r := range streams {
		r.await(t, ctx)
	}

	var publishing sync.WaitGroup
	for _, n := range all {
		publishing.Go(func() {
			for i := range events {
				n.publish(t, ctx, i)
				if i == events/2 {
					n.server.CloseClientConnections() // its clients move to the next node
				}
			}
		})
	}
	publishing.Wait()
	for _, r := range streams {
		if err := r.check(ctx); err != nil {
			t.Error(err)
		}
	}

	for _, n := range all {
		present := 0
		for _, err := range n.broker.Clients(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			present++
		}
		if present != readers {
			t.Errorf("%s sees %d clients, want %d", n.name, present, readers)
		}
	}
}

// node is a replica within this process.
type node struct {
	name   string
	broker *broker.Broker
	server *httptest.Server
}

func startNode(t *testing.T, ctx context.Context, b *bus.Bus, name string) *node {
	n := &node{name: name, broker: broker.NewBroker(nil, broker.WithBackplane(b.Backplane(t)),
		broker.WithNamespace(t.Name()), broker.WithNodeName(name), broker.WithRetry(10*time.Millisecond, 0))}
	n.server = httptest.NewServer(n.broker.Handler(func(r *http.Request) (broker.Client, error) {
		return broker.Client{ID: r.URL.Query().Get("client")}, nil
	}))
	t.Cleanup(func() {
		n.server.CloseClientConnections()
		if err := n.broker.Close(); err != nil {
			t.Errorf("closing %s: %v", name, err)
		}
		n.server.Close()
	})
	if err := n.broker.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return n
}

// publish publishes the i-th event of the node, and tries again with the same key for
// as long as it is in doubt.
func (n *node) publish(t *testing.T, ctx context.Context, i int) {
	data := fmt.Sprintf("%s %d", n.name, i)
	for {
		_, err := n.broker.Publish(ctx, broker.Everyone(), sse.StringEvent{Data: data}, broker.IdempotencyKey(data))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Errorf("publishing %q: %v", data, err)
			return
		}
	}
}

// reader is a client with what it has received.
type reader struct {
	name   string
	stream *client.Stream
	opened chan struct{}
}

func startReader(t *testing.T, ctx context.Context, all []*node, i int) *reader {
	r := &reader{name: fmt.Sprintf("reader-%d", i), opened: make(chan struct{})}
	var urls []string
	for k := range all {
		urls = append(urls, all[(i+k)%len(all)].server.URL+"/?client="+r.name)
	}
	var once sync.Once
	stream, err := client.Open(ctx, urls[0], client.WithURLs(urls[1:]...), client.WithRetry(100*time.Millisecond),
		client.WithOpenHook(func(*http.Response) { once.Do(func() { close(r.opened) }) }))
	if err != nil {
		t.Fatal(err)
	}
	r.stream = stream
	t.Cleanup(stream.Close)
	return r
}

func (r *reader) await(t *testing.T, ctx context.Context) {
	select {
	case <-r.opened:
	case <-ctx.Done():
		t.Fatalf("%s never got its stream: %v", r.name, r.stream.Err())
	}
}

// check reads until the last event of every node has come.
func (r *reader) check(ctx context.Context) error {
	next := map[string]int{}
	got := 0
	for event, err := range r.stream.Events() {
		if err != nil {
			return fmt.Errorf("%s: after %d events: %w", r.name, got, err)
		}
		var node string
		var i int
		if _, err := fmt.Sscanf(event.GetData(), "%s %d", &node, &i); err != nil {
			return fmt.Errorf("%s: unexpected event %q %q", r.name, event.GetEvent(), event.GetData())
		}
		if i != next[node] {
			return fmt.Errorf("%s: got %q, want number %d of that node", r.name, event.GetData(), next[node])
		}
		next[node]++
		if got++; got == nodes*events {
			return nil
		}
	}
	return fmt.Errorf("%s: the stream ended after %d events: %w", r.name, got, context.Cause(ctx))
}
