package redisbus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
)

const (
	// callLimit is the deadline that a node of a world gives its calls.
	callLimit = 2 * time.Second
	// overdue is how much later than its deadline a call may return, on a busy machine.
	overdue = time.Second
	// patience is how long the world may take to come to rest after a fault.
	patience = 60 * time.Second
	// worldLease is the lease of a node, renewed every worldBeat.
	worldLease = 30 * time.Second
	worldBeat  = 500 * time.Millisecond
)

// world is some nodes of one namespace. Each publishes without pause, follows
// the log and holds a lease, as a broker does, while a test breaks things.
type world struct {
	t     *testing.T
	cfg   backplane.Config
	nodes []*node

	stop    context.CancelFunc // of publishing and renewing
	busy    sync.WaitGroup
	unwatch context.CancelFunc // of following
	watch   sync.WaitGroup
}

// node is one of them.
type node struct {
	id  string
	t   *testing.T
	log backplane.Log

	mu      sync.Mutex // guards what follows
	got     []delivery
	starts  []backplane.Position // where it began to follow, each time
	links   []error
	linkAt  []time.Time
	acked   map[string]backplane.Position
	refused int // publishes that failed, the last one with
	refusal error
	slowest time.Duration
	number  uint64
	renewal error
}

type delivery struct {
	position backplane.Position
	data     string
}

func testConfig(t testing.TB) backplane.Config {
	return backplane.Config{
		Namespace:         t.Name(),
		RetentionAge:      10 * time.Minute,
		RetentionBytes:    64 << 20,
		IdempotencyWindow: 2 * time.Minute,
		ResumeGrace:       time.Minute,
	}
}

// newWorld opens a log for each client, and sets the nodes going.
func newWorld(t *testing.T, clients ...redis.UniversalClient) *world {
	t.Helper()
	return newWorldOf(t, testConfig(t), clients...)
}

func newWorldOf(t *testing.T, cfg backplane.Config, clients ...redis.UniversalClient) *world {
	t.Helper()
	w := &world{t: t, cfg: cfg}
	for i, c := range clients {
		n := &node{id: fmt.Sprintf("node-%d", i), t: t, acked: make(map[string]backplane.Position)}
		log, err := newBus(t, c).Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		n.log = log
		w.nodes = append(w.nodes, n)
	}
	watching, unwatch := context.WithCancel(context.Background())
	w.unwatch = unwatch
	busy, stop := context.WithCancel(context.Background())
	w.stop = stop
	t.Cleanup(w.close)
	for _, n := range w.nodes {
		b, err := n.log.Bounds(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := n.log.Renew(t.Context(), n.id, worldLease); err != nil {
			t.Fatal(err)
		}
		s := backplane.Session{ID: n.id + " session", Client: n.id + " client", Node: n.id}
		if _, err := n.log.Update(t.Context(), n.id, []backplane.Session{s}, nil); err != nil {
			t.Fatal(err)
		}
		w.watch.Go(func() { n.follow(watching, b.Last) })
		w.busy.Go(func() { n.publish(busy) })
		w.busy.Go(func() { n.renew(busy) })
	}
	w.flows("before the fault")
	return w
}

func (w *world) close() {
	w.stop()
	w.busy.Wait()
	w.unwatch()
	w.watch.Wait()
	for _, n := range w.nodes {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		start := time.Now()
		if err := n.log.Close(ctx); err != nil {
			w.t.Errorf("%s: Close: %v", n.id, err)
		}
		if took := time.Since(start); took > 2*time.Second {
			w.t.Errorf("%s: Close took %v", n.id, took)
		}
		cancel()
	}
}

// follow does what a broker does: it follows, and starts over where it has to.
func (n *node) follow(ctx context.Context, from backplane.Position) {
	past := make(map[string]bool) // epochs that it has left
	for {
		n.mu.Lock()
		n.starts = append(n.starts, from)
		n.mu.Unlock()
		err := n.log.Follow(ctx, from, n)
		if ctx.Err() != nil {
			return
		}
		for {
			var b backplane.Bounds
			var boundsErr error
			switch {
			case errors.Is(err, backplane.ErrEpoch):
				past[from.Epoch] = true
				b, boundsErr = n.log.NewEpoch(ctx, from.Epoch)
				for boundsErr == nil && past[b.Epoch] { // back at a server that had not heard of the newer one
					b, boundsErr = n.log.NewEpoch(ctx, b.Epoch)
				}
				from = b.Began
			case errors.Is(err, backplane.ErrTrimmed):
				b, boundsErr = n.log.Bounds(ctx)
				from = b.First
			default:
				n.t.Errorf("%s: Follow: %v", n.id, err)
				return
			}
			if boundsErr == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

func (n *node) Page(p backplane.Page) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range p.Entries {
		n.got = append(n.got, delivery{e.Position, string(e.Data)})
	}
}

func (n *node) Link(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links = append(n.links, err)
	n.linkAt = append(n.linkAt, time.Now())
}

// publish publishes batches of one to three messages, one after the other, each until it
// is accepted.
func (n *node) publish(ctx context.Context) {
	for ctx.Err() == nil {
		n.mu.Lock()
		n.number++
		b := backplane.Batch{Producer: n.id, Number: n.number}
		n.mu.Unlock()
		for i := range 1 + b.Number%3 {
			b.Messages = append(b.Messages, backplane.Message{Data: fmt.Appendf(nil, "%s %d.%d", n.id, b.Number, i)})
		}
		for ctx.Err() == nil {
			if n.try(b) == nil {
				break
			}
		}
		wait := time.NewTimer(2 * time.Millisecond) // the pace of the load
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}
}

func (n *node) try(b backplane.Batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	start := time.Now()
	positions, err := n.log.Publish(ctx, b)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slowest = max(n.slowest, time.Since(start))
	if err != nil {
		n.refused++
		n.refusal = err
		if errors.Is(err, backplane.ErrOldBatch) {
			n.t.Errorf("%s: Publish %d: %v", n.id, b.Number, err)
		}
		return err
	}
	for i, p := range positions {
		n.acked[string(b.Messages[i].Data)] = p
	}
	return nil
}

func (n *node) renew(ctx context.Context) {
	tick := time.NewTicker(worldBeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			call, cancel := context.WithTimeout(context.Background(), callLimit)
			err := n.log.Renew(call, n.id, worldLease)
			cancel()
			n.mu.Lock()
			n.renewal = err
			n.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// flows waits until each node gets what each publishes from now on.
func (w *world) flows(when string) {
	w.t.Helper()
	marks := make(map[*node]uint64)
	for _, n := range w.nodes {
		n.mu.Lock()
		marks[n] = n.number + 1
		n.mu.Unlock()
	}
	w.eventually("everything flows "+when, func() error {
		for from, number := range marks {
			for _, to := range w.nodes {
				if !to.has(from.id, number) {
					return fmt.Errorf("%s has not got batch %d of %s; links %v; its publisher: %s", to.id, number, from.id, to.lastLink(), from.stuck())
				}
			}
		}
		return nil
	})
}

// has reports whether the node got a batch of another, or a later one.
func (n *node) has(id string, number uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := len(n.got) - 1; i >= 0; i-- {
		who, rest, _ := strings.Cut(n.got[i].data, " ")
		var got uint64
		_, _ = fmt.Sscanf(rest, "%d.", &got)
		if who == id {
			return got >= number
		}
	}
	return false
}

func (n *node) lastLink() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.links) == 0 {
		return errors.New("never")
	}
	return n.links[len(n.links)-1]
}

func (n *node) stuck() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprintf("batch %d, %d refused, the last: %v", n.number, n.refused, n.refusal)
}

func (w *world) eventually(what string, ask func() error) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %v: %s: %v", patience, what, err)
		}
		time.Sleep(10 * time.Millisecond) // between questions
	}
}

// outcome is what a world has seen.
type outcome struct {
	accepted, refused, lost int // lost: accepted, and not delivered to somebody who was reset
	resets                  int // of all nodes
	slowest                 time.Duration
}

// finish waits until all flows again, stops publishing, and checks the promise:
// nobody got anything twice or out of order, and who did not get something that was
// accepted was told so by ErrEpoch or ErrTrimmed. presence is whether the register
// must have survived.
func (w *world) finish(presence bool) outcome {
	w.t.Helper()
	w.flows("after the fault")
	if presence {
		w.present()
	}
	w.stop()
	w.busy.Wait()
	w.eventually("everybody has the last batches", func() error {
		// A last batch can still be lost, with a primary that is on its way out.
		for _, n := range w.nodes {
			n.mu.Lock()
			n.number++
			b := backplane.Batch{Producer: n.id, Number: n.number, Messages: []backplane.Message{{Data: fmt.Appendf(nil, "%s %d.0", n.id, n.number)}}}
			n.mu.Unlock()
			w.eventually("the last batch", func() error { return n.try(b) })
		}
		var err error
		for range 300 {
			if err = w.complete(); err == nil {
				return nil
			}
			time.Sleep(10 * time.Millisecond) // between questions
		}
		return err
	})
	w.unwatch()
	w.watch.Wait()

	var o outcome
	accepted := make(map[string]backplane.Position)
	for _, n := range w.nodes {
		o.accepted += len(n.acked)
		o.refused += n.refused
		o.slowest = max(o.slowest, n.slowest)
		o.resets += len(n.starts) - 1
		for data, p := range n.acked {
			accepted[data] = p
		}
	}
	if o.slowest > callLimit+overdue {
		w.t.Errorf("a publish took %v, its deadline was %v", o.slowest, callLimit)
	}
	for _, n := range w.nodes {
		o.lost += w.check(n, accepted)
	}
	w.t.Logf("%+v", o)
	return o
}

// complete reports whether everybody has the last batch of everybody.
func (w *world) complete() error {
	for _, from := range w.nodes {
		for _, to := range w.nodes {
			if !to.has(from.id, from.number) {
				return fmt.Errorf("%s lacks that of %s", to.id, from.id)
			}
		}
	}
	return nil
}

// check checks what a node got, and returns how much of what was accepted it was told
// to do without.
func (w *world) check(n *node, accepted map[string]backplane.Position) (lost int) {
	w.t.Helper()
	got := make(map[string]backplane.Position, len(n.got))
	seen := make(map[string]string, len(n.got)) // data by epoch and data
	last := make(map[string]uint64)             // by epoch
	for _, d := range n.got {
		key := d.position.Epoch + " " + d.data
		if _, again := seen[key]; again {
			w.t.Errorf("%s got %q twice: at %v and %v", n.id, d.data, got[d.data], d.position)
		}
		seen[key] = d.data
		if d.position.Seq <= last[d.position.Epoch] {
			w.t.Errorf("%s got %v behind %v of its epoch", n.id, d.position, last[d.position.Epoch])
		}
		last[d.position.Epoch] = d.position.Seq
		got[d.data] = d.position
	}
	first, final := n.starts[0], n.starts[len(n.starts)-1]
	missing := 0
	for data, p := range accepted {
		switch _, ok := got[data]; {
		case ok:
		case p.Epoch == first.Epoch && p.Seq <= first.Seq: // before its time
		case p.Epoch != final.Epoch || p.Seq <= final.Seq:
			lost++ // it was told
		default:
			if missing++; missing < 5 {
				w.t.Errorf("%s never got %q, accepted at %v, and was not told; it started at %v", n.id, data, p, n.starts)
			}
		}
	}
	return lost
}

// present checks that the nodes still have their leases, and their sessions.
func (w *world) present() {
	w.t.Helper()
	w.eventually("all are present", func() error {
		for _, n := range w.nodes {
			n.mu.Lock()
			err := n.renewal
			n.mu.Unlock()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(context.Background(), callLimit)
			p, err := n.log.Presence(ctx, w.nodes[0].id+" client", n.id+" client", "nobody")
			cancel()
			if err != nil {
				return err
			}
			if p[0] != backplane.Present || p[1] != backplane.Present || p[2] != backplane.Absent {
				return fmt.Errorf("presence %v", p)
			}
		}
		return nil
	})
}

// told returns the longest time from a moment to the first report of a broken link
// behind it, over all nodes that were told.
func (w *world) told(from time.Time) (longest time.Duration, nodes int) {
	for _, n := range w.nodes {
		n.mu.Lock()
		for i, err := range n.links {
			if err != nil && n.linkAt[i].After(from) {
				longest = max(longest, n.linkAt[i].Sub(from))
				nodes++
				break
			}
		}
		n.mu.Unlock()
	}
	return longest, nodes
}
