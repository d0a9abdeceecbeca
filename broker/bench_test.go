package broker

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/sse"
)

// countingSink is a connection in memory that counts the events written to it.
type countingSink struct {
	header http.Header
	hall   *hall
}

func (k *countingSink) Header() http.Header { return k.header }
func (k *countingSink) WriteHeader(int)     {}
func (k *countingSink) FlushError() error   { return nil }
func (k *countingSink) Write(p []byte) (int, error) {
	if strings.HasSuffix(string(p[max(0, len(p)-3):]), "!\n\n") { // an event of a benchmark
		k.hall.count()
	}
	return len(p), nil
}

// hall is a set of connections to a broker.
type hall struct {
	broker *Broker
	wg     sync.WaitGroup
	leave  context.CancelFunc
	ctx    context.Context

	received atomic.Int64
	target   atomic.Int64
	reached  chan struct{}
}

func newHall(tb testing.TB, options ...Option) *hall {
	h := &hall{broker: NewBroker(nil, options...), reached: make(chan struct{}, 1)}
	if err := h.broker.Start(context.Background()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = h.broker.Close() })
	h.renew()
	return h
}

func (h *hall) renew() { h.ctx, h.leave = context.WithCancel(context.Background()) }

func (h *hall) count() {
	if h.received.Add(1) == h.target.Load() {
		h.reached <- struct{}{}
	}
}

// expect says how many more events are to come; await waits for them.
func (h *hall) expect(n int) { h.target.Store(h.received.Load() + int64(n)) }
func (h *hall) await()       { <-h.reached }

// enter connects n clients, 100 at a time, and returns when their streams have begun.
func (h *hall) enter(tb testing.TB, n int, lastID string) {
	var open sync.WaitGroup
	slots := make(chan struct{}, 1000)
	for i := range n {
		slots <- struct{}{}
		open.Add(1)
		h.wg.Go(func() {
			r := httptest.NewRequestWithContext(h.ctx, http.MethodGet, "/", nil)
			if lastID != "" {
				r.Header.Set("Last-Event-ID", lastID)
			}
			conn, err := h.broker.Connect("client "+strconv.Itoa(i), &countingSink{header: make(http.Header), hall: h}, r)
			<-slots
			open.Done()
			if err != nil {
				tb.Error(err)
				return
			}
			<-conn.Done()
		})
	}
	open.Wait()
}

// empty ends all connections.
func (h *hall) empty() {
	h.leave()
	h.wg.Wait()
	h.renew()
}

var benchEvent = sse.StringEvent{Event: "message", Data: strings.Repeat("x", 99) + "!"}

func BenchmarkEncode(b *testing.B) {
	h := newHall(b)
	b.ReportAllocs()
	for b.Loop() {
		m, err := h.broker.encode(Everyone(), benchEvent, publishConfig{})
		if err != nil {
			b.Fatal(err)
		}
		e, err := decodeEntry(backplane.Entry{Position: Position{Epoch: "e", Seq: 1 << 40}, Data: m.Data})
		if err != nil {
			b.Fatal(err)
		}
		e.frame()
	}
}

// BenchmarkFanOut is one event from Publish until it has been written to n connections.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 1000, 10000} {
		b.Run("sessions="+strconv.Itoa(n), func(b *testing.B) {
			h := newHall(b, WithHeartbeat(time.Hour))
			h.enter(b, n, "")
			defer h.empty()
			b.ReportAllocs()
			for b.Loop() {
				h.expect(n)
				if err := h.broker.Broadcast(benchEvent); err != nil {
					b.Fatal(err)
				}
				h.await()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/delivery")
		})
	}
}

// BenchmarkSend is an event to one of 10,000 clients.
func BenchmarkSend(b *testing.B) {
	const n = 10000
	h := newHall(b, WithHeartbeat(time.Hour))
	h.enter(b, n, "")
	defer h.empty()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % n
		h.expect(1)
		if err := h.broker.Send("client "+strconv.Itoa(i), benchEvent); err != nil {
			b.Fatal(err)
		}
		h.await()
	}
}

// BenchmarkConnect is 10,000 clients that come, and go.
func BenchmarkConnect(b *testing.B) {
	const n = 10000
	h := newHall(b)
	b.ReportAllocs()
	for b.Loop() {
		h.enter(b, n, "")
		b.StopTimer()
		h.empty()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/connection")
}

// BenchmarkResume is 10,000 clients that come back at once, each 10 events behind.
func BenchmarkResume(b *testing.B) {
	const n, behind = 10000, 10
	h := newHall(b)
	at, err := h.broker.Position(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	for range behind {
		if err := h.broker.Broadcast(benchEvent); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		h.expect(n * behind)
		h.enter(b, n, at.String())
		h.await()
		b.StopTimer()
		h.empty()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/connection")
}

// idleSocket is a socket without a goroutine: drain does what one would.
type idleSocket struct {
	s      *session
	frames []*frame
	bytes  int
}

func (k *idleSocket) wake() {}

func (k *idleSocket) serve(context.Context, *session) error { return nil }

func (k *idleSocket) drain() {
	k.frames, _ = k.s.take(k.frames[:0])
	for _, f := range k.frames {
		k.bytes += len(f.bytes)
	}
	clear(k.frames)
}

// crowd puts n caught-up sessions on a node of its own.
func crowd(tb testing.TB, n int) (*node, []*idleSocket) {
	cfg := defaultConfig()
	nd := newNode(cfg, new(counters))
	nd.begin(backplane.Page{After: Position{Epoch: "e"}, Upto: Position{Epoch: "e"}})
	sockets := make([]*idleSocket, n)
	for i := range sockets {
		k := new(idleSocket)
		k.s = &session{id: strconv.Itoa(i), client: strconv.Itoa(i), node: nd, socket: k, interval: time.Hour, joinedAt: nd.at(), done: make(chan struct{})}
		if err := nd.reserve(k.s); err != nil {
			tb.Fatal(err)
		}
		if err := nd.join(k.s, nil, cursor{}, true, nil, time.Second); err != nil {
			tb.Fatal(err)
		}
		k.drain()
		sockets[i] = k
	}
	return nd, sockets
}

// nextPage makes a page of one event.
func nextPage(nd *node, data []byte) backplane.Page {
	at := nd.at()
	next := Position{Epoch: at.Epoch, Seq: at.Seq + 1}
	return backplane.Page{After: at, Upto: next, Entries: []backplane.Entry{{Position: next, Data: data}}}
}

// A delivery costs no allocation: an event costs as many for 1,000 sessions as for one.
func TestRuleFanOutAllocatesNothingPerDelivery(t *testing.T) {
	b := &Broker{cfg: defaultConfig()}
	m, err := b.encode(Everyone(), benchEvent, publishConfig{})
	if err != nil {
		t.Fatal(err)
	}
	perEvent := func(n int) float64 {
		nd, sockets := crowd(t, n)
		deliver := func() {
			if err := nd.take(nextPage(nd, m.Data)); err != nil {
				t.Fatal(err)
			}
			for _, k := range sockets {
				k.drain()
			}
		}
		for range 100 {
			deliver()
		}
		before := sockets[n-1].bytes
		allocs := testing.AllocsPerRun(200, deliver)
		if sockets[n-1].bytes == before {
			t.Fatal("nothing was delivered")
		}
		return allocs
	}
	one, many := perEvent(1), perEvent(1000)
	t.Logf("allocations for an event: %.0f with 1 session, %.0f with 1000", one, many)
	if many > one+2 { // maps and lists that grow
		t.Errorf("an event for 1000 sessions costs %.0f allocations, for one session %.0f", many, one)
	}
	if one > 20 {
		t.Errorf("an event costs %.0f allocations", one)
	}
}
