package broker

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/sse"
)

// stage is a bus with nodes and tabs, for the test of one rule. It lives in a bubble.
type stage struct {
	t      *testing.T
	truth  *truth
	counts *countingBus
	bus    *backplanetest.Faults
	common []Option
	// stalled is whether the sockets of those who come take nothing at first.
	stalled bool
}

func onStage(t *testing.T, memory []backplane.MemoryOption, play func(*testing.T, *stage), common ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := defaultConfig()
		common = append([]Option{
			WithNamespace("rules"), WithLease(3 * time.Second), WithHeartbeat(time.Minute), WithRetry(time.Millisecond, 0),
		}, common...)
		for _, o := range common {
			o.apply(cfg)
		}
		truth, err := newTruth(backplane.NewMemory(append(memory, backplane.WithSeed(1))...), cfg.backplaneConfig())
		if err != nil {
			t.Fatal(err)
		}
		truth.diary = new(diary)
		s := &stage{t: t, truth: truth, counts: &countingBus{Backplane: truth, calls: make(map[string]int)}, common: common}
		s.bus = backplanetest.NewFaults(s.counts, 1)
		defer func() { _ = truth.direct.Close(context.Background()) }()
		play(t, s)
	})
}

// node starts a node.
func (s *stage) node(name string, options ...Option) *Broker {
	s.t.Helper()
	b := NewBroker(nil, slices.Concat(s.common, []Option{WithBackplane(s.bus.Line(name)), WithNodeName(name)}, options)...)
	if err := b.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		s.bus.Line(name).Calm()
		if err := b.Close(); err != nil {
			s.t.Errorf("Close of %s: %v", name, err)
		}
	})
	return b
}

// publish publishes plain events, and returns the position of the last.
func (s *stage) publish(b *Broker, to Audience, texts ...string) (pos Position) {
	s.t.Helper()
	var err error
	for _, text := range texts {
		if pos, err = b.Publish(s.t.Context(), to, sse.StringEvent{Data: text}); err != nil {
			s.t.Fatal(err)
		}
	}
	synctest.Wait()
	return pos
}

// guest is a connection on the stage.
type guest struct {
	t      *testing.T
	sink   *tabSink
	conn   *ClientConnection
	cancel context.CancelFunc
	err    error
}

// guest connects and waits until its stream has begun.
func (s *stage) guest(b *Broker, client, lastID string, options ...ConnectOption) *guest {
	s.t.Helper()
	g := s.comer(b, client, lastID, options...)
	if g.conn == nil {
		s.t.Fatalf("%s could not connect: %v", client, g.err)
	}
	synctest.Wait()
	return g
}

// comer connects and waits for the answer, whatever it is.
func (s *stage) comer(b *Broker, client, lastID string, options ...ConnectOption) *guest {
	ctx, cancel := context.WithCancel(context.Background())
	g := &guest{t: s.t, sink: newTabSink(s.truth, lastID), cancel: cancel}
	g.sink.diary = new(diary)
	g.sink.stall(s.stalled)
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	g.conn, g.err = b.Connect(client, g.sink, r, options...)
	s.t.Cleanup(func() {
		cancel()
		if g.conn != nil {
			g.sink.leave()
			<-g.conn.Done()
		}
	})
	return g
}

// heard returns what came: the data of events, "reset" with its reason, and "@" for a
// position alone.
func (g *guest) heard() []string {
	synctest.Wait()
	list := []string{}
	for _, b := range g.sink.received() {
		switch {
		case b.event == "reset":
			list = append(list, "reset "+b.data)
		case b.hasData:
			list = append(list, b.data)
		case b.hasID:
			list = append(list, "@")
		}
	}
	return list
}

func (g *guest) wants(list ...string) {
	g.t.Helper()
	if got := g.heard(); !slices.Equal(got, list) {
		g.t.Errorf("heard %q, want %q", got, list)
	}
}

// lastReset returns the last reset that came.
func (g *guest) lastReset() (b block) {
	for _, each := range g.sink.received() {
		if each.event == "reset" {
			b = each
		}
	}
	return b
}

// countingBus counts the calls of some methods.
type countingBus struct {
	backplane.Backplane
	mu    sync.Mutex
	calls map[string]int
}

func (c *countingBus) count(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[method]++
}

// since returns how often a method was called since the last question.
func (c *countingBus) since(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.calls[method]
	c.calls[method] = 0
	return n
}

func (c *countingBus) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	log, err := c.Backplane.Open(ctx, cfg)
	return &countingLog{Log: log, c: c}, err
}

type countingLog struct {
	backplane.Log
	c *countingBus
}

func (l *countingLog) Read(ctx context.Context, after Position, maxBytes int) (backplane.Page, error) {
	l.c.count("Read")
	return l.Log.Read(ctx, after, maxBytes)
}

func (l *countingLog) Bounds(ctx context.Context) (backplane.Bounds, error) {
	l.c.count("Bounds")
	return l.Log.Bounds(ctx)
}

func (l *countingLog) NewEpoch(ctx context.Context, old string) (backplane.Bounds, error) {
	l.c.count("NewEpoch")
	return l.Log.NewEpoch(ctx, old)
}

func (l *countingLog) Publish(ctx context.Context, b backplane.Batch) ([]backplane.Position, error) {
	l.c.count("Publish")
	return l.Log.Publish(ctx, b)
}

func (l *countingLog) Update(ctx context.Context, node string, add []backplane.Session, end []string) (backplane.UpdateResult, error) {
	l.c.count("Update")
	return l.Log.Update(ctx, node, add, end)
}

func (l *countingLog) Presence(ctx context.Context, clients ...string) ([]backplane.Presence, error) {
	l.c.count("Presence")
	return l.Log.Presence(ctx, clients...)
}
