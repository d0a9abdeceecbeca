package natsbus_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/natsbus/internal/natstest"
)

func config() backplane.Config {
	return backplane.Config{
		Namespace:         "fault " + rand.Text(),
		RetentionAge:      10 * time.Minute,
		RetentionBytes:    64 << 20,
		IdempotencyWindow: 2 * time.Minute,
		ResumeGrace:       time.Second,
	}
}

// openLog opens a namespace on a connection of its own.
func openLog(t testing.TB, url string, cfg backplane.Config, opts ...natsbus.Option) backplane.Log {
	t.Helper()
	bus, err := natsbus.New(natstest.Connect(t, url), opts...)
	if err != nil {
		t.Fatal(err)
	}
	l, err := bus.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

// patience is how long a test waits for what must come about.
const patience = 60 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// world is some nodes of one namespace, each of which publishes and follows, and
// what they saw.
type world struct {
	t     *testing.T
	nodes []*node
	stop  chan struct{} // closed: publish no more
	done  sync.WaitGroup

	publishers sync.WaitGroup

	clients []string // that have been registered
}

type node struct {
	name string
	log  backplane.Log

	mu      sync.Mutex
	changed chan struct{} // closed when something below changes
	acked   map[string]backplane.Position
	entries []backplane.Entry
	upto    backplane.Position
	link    error
	linked  time.Time // since when link is what it is
	told    bool
	worst   time.Duration // the longest publish call
	failed  int           // publish calls that failed
	ended   error         // how Follow ended
	cancel  context.CancelFunc
}

// publishDeadline is what a publish call of a world has.
const publishDeadline = 2 * time.Second

// newWorld starts one node for each URL.
func newWorld(t *testing.T, cfg backplane.Config, urls []string, opts ...natsbus.Option) *world {
	t.Helper()
	w := &world{t: t, stop: make(chan struct{})}
	for i, url := range urls {
		w.nodes = append(w.nodes, &node{
			name:    fmt.Sprintf("node%d-%s", i, rand.Text()[:6]),
			log:     openLog(t, url, cfg, opts...),
			acked:   make(map[string]backplane.Position),
			changed: make(chan struct{}),
		})
	}
	b, err := w.nodes[0].log.Bounds(within(t))
	if err != nil {
		t.Fatalf("Bounds: %v", err)
	}
	for _, n := range w.nodes {
		ctx, cancel := context.WithCancel(context.Background())
		n.upto, n.cancel = b.Last, cancel
		w.done.Go(func() {
			err := n.log.Follow(ctx, b.Last, n)
			n.do(func() { n.ended = err })
		})
		w.publishers.Go(func() { n.publish(w.stop) })
	}
	t.Cleanup(func() {
		w.quiet()
		for _, n := range w.nodes {
			n.cancel()
		}
		w.done.Wait()
	})
	for _, n := range w.nodes {
		n.wait(t, "it is linked and publishes", func() bool { return n.told && n.link == nil && len(n.acked) > 0 })
	}
	return w
}

func (n *node) do(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// wait waits until ok, and returns how long that took.
func (n *node) wait(t testing.TB, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		n.mu.Lock()
		yes, changed := ok(), n.changed
		state := fmt.Sprintf("%d acked, %d entries upto %v, link %v, ended %v, %d failed", len(n.acked), len(n.entries), n.upto, n.link, n.ended, n.failed)
		n.mu.Unlock()
		if yes {
			return time.Since(began)
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatalf("%s: not within %v: %s; %s", n.name, patience, what, state)
		}
	}
}

func (n *node) Page(p backplane.Page) {
	n.do(func() {
		if p.After != n.upto {
			n.ended = fmt.Errorf("page after %v, want after %v", p.After, n.upto)
		}
		n.upto = p.Upto
		n.entries = append(n.entries, p.Entries...)
	})
}

func (n *node) Link(err error) {
	n.do(func() { n.link, n.linked, n.told = err, time.Now(), true })
}

// publish publishes batches as a broker does: one at a time, each until it is
// accepted.
func (n *node) publish(stop <-chan struct{}) {
	for number := uint64(1); ; number++ {
		b := backplane.Batch{Producer: n.name, Number: number}
		for i := range 3 {
			b.Messages = append(b.Messages, backplane.Message{Data: fmt.Appendf(nil, "%s/%d/%d", n.name, number, i)})
		}
		if number%3 == 0 {
			b.Messages[1].Key = fmt.Sprintf("%s-%d", n.name, number)
		}
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond): // the rate of publishing, not a wait for anything
			}
			ctx, cancel := context.WithTimeout(context.Background(), publishDeadline)
			began := time.Now()
			positions, err := n.log.Publish(ctx, b)
			took := time.Since(began)
			cancel()
			n.do(func() {
				n.worst = max(n.worst, took)
				if err != nil {
					n.failed++
					return
				}
				for i, p := range positions {
					n.acked[string(b.Messages[i].Data)] = p
				}
			})
			if err == nil {
				break
			}
			if errors.Is(err, backplane.ErrClosed) || errors.Is(err, backplane.ErrOldBatch) {
				n.do(func() { n.ended = fmt.Errorf("publish: %w", err) })
				return
			}
		}
	}
}

// quiet ends all publishing.
func (w *world) quiet() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.publishers.Wait()
}

// flows waits until each node publishes and follows again, and returns how long
// that took.
func (w *world) flows() time.Duration {
	w.t.Helper()
	began := time.Now()
	for _, n := range w.nodes {
		n.mu.Lock()
		acked, entries := len(n.acked), len(n.entries)
		n.mu.Unlock()
		n.wait(w.t, "it publishes and follows", func() bool {
			return n.link == nil && len(n.acked) > acked+10 && len(n.entries) > entries+10
		})
	}
	return time.Since(began)
}

// registers checks that each node can register a session, that the others see it
// at once, and that they still see all that were registered before.
func (w *world) registers(id string) {
	w.t.Helper()
	ctx := within(w.t)
	for i, n := range w.nodes {
		if err := n.log.Renew(ctx, n.name, time.Hour); err != nil {
			w.t.Fatalf("%s: Renew: %v", n.name, err)
		}
		s := backplane.Session{ID: id + n.name, Client: id + n.name, Node: n.name}
		res, err := n.log.Update(ctx, n.name, []backplane.Session{s}, nil)
		if err != nil || !slices.Equal(res.Joined, []string{s.Client}) {
			w.t.Fatalf("%s: Update: %+v, %v", n.name, res, err)
		}
		other := w.nodes[(i+1)%len(w.nodes)]
		presence, err := other.log.Presence(ctx, s.Client)
		if err != nil || presence[0] != backplane.Present {
			w.t.Fatalf("%s: Presence: %v, %v", other.name, presence, err)
		}
		w.clients = append(w.clients, s.Client)
	}
	for _, n := range w.nodes {
		presence, err := n.log.Presence(ctx, w.clients...)
		if err != nil {
			w.t.Fatalf("%s: Presence: %v", n.name, err)
		}
		for i, p := range presence {
			if p != backplane.Present {
				w.t.Errorf("%s: %s is not present any more", n.name, w.clients[i])
			}
		}
		if n := live(w.t, n.log); n != len(w.clients) {
			w.t.Errorf("%d sessions are live, want %d", n, len(w.clients))
		}
	}
}

// check ends publishing and checks that all nodes got the same entries, each once
// and in order, and all that were accepted where the publisher was told.
func (w *world) check() {
	w.t.Helper()
	w.quiet()
	var last uint64
	for _, n := range w.nodes {
		n.mu.Lock()
		for _, p := range n.acked {
			last = max(last, p.Seq)
		}
		n.mu.Unlock()
	}
	for _, n := range w.nodes {
		n.wait(w.t, "it has all that was accepted", func() bool { return n.upto.Seq >= last || n.ended != nil })
	}
	var first []backplane.Entry
	for _, n := range w.nodes {
		n.mu.Lock()
		entries, ended, worst := slices.Clone(n.entries), n.ended, n.worst
		n.mu.Unlock()
		if ended != nil {
			w.t.Errorf("%s: %v", n.name, ended)
		}
		if worst > publishDeadline+500*time.Millisecond {
			w.t.Errorf("%s: a publish took %v", n.name, worst)
		}
		if first == nil {
			first = entries
		}
		if same := min(len(entries), len(first)); !slices.EqualFunc(entries[:same], first[:same], sameEntry) {
			w.t.Errorf("%s got other entries than %s", n.name, w.nodes[0].name)
		}
		at := make(map[string]backplane.Position)
		var before backplane.Position
		for _, e := range entries {
			if e.Position.Seq <= before.Seq {
				w.t.Errorf("%s: %v came after %v", n.name, e.Position, before)
			}
			if was, again := at[string(e.Data)]; again {
				w.t.Errorf("%s: %q is at %v and at %v", n.name, e.Data, was, e.Position)
			}
			before, at[string(e.Data)] = e.Position, e.Position
		}
		for _, from := range w.nodes {
			from.mu.Lock()
			for data, p := range from.acked {
				if at[data] != p {
					w.t.Errorf("%s: %q was accepted at %v, and is at %v", n.name, data, p, at[data])
				}
			}
			from.mu.Unlock()
		}
	}
}

func sameEntry(a, b backplane.Entry) bool {
	return a.Position == b.Position && bytes.Equal(a.Data, b.Data) && a.Time.Equal(b.Time)
}
