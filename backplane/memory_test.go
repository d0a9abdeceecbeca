package backplane

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func testConfig(namespace string) Config {
	return Config{
		Namespace:         namespace,
		RetentionAge:      10 * time.Minute,
		RetentionBytes:    64 << 20,
		IdempotencyWindow: 2 * time.Minute,
		ResumeGrace:       time.Minute,
	}
}

func openMemory(t testing.TB, m *Memory, cfg Config) Log {
	t.Helper()
	l, err := m.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

func mustPublish(t testing.TB, l Log, number uint64, data ...string) []Position {
	t.Helper()
	b := Batch{Producer: "p", Number: number}
	for _, d := range data {
		b.Messages = append(b.Messages, Message{Data: []byte(d)})
	}
	positions, err := l.Publish(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return positions
}

func mustBounds(t testing.TB, l Log) Bounds {
	t.Helper()
	b, err := l.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readAll(t testing.TB, l Log, after Position) []string {
	t.Helper()
	p, err := l.Read(t.Context(), after, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range p.Entries {
		out = append(out, string(e.Data))
	}
	return out
}

// collector is a follower that writes down what it gets.
type collector struct {
	data  chan string
	links chan error
}

func newCollector() *collector {
	return &collector{data: make(chan string, 1<<16), links: make(chan error, 16)}
}

func (c *collector) Link(err error) { c.links <- err }

func (c *collector) Page(p Page) {
	for _, e := range p.Entries {
		c.data <- string(e.Data)
	}
}

func TestMemoryTrimsByAgeWhenUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig("n")
		cfg.RetentionAge = time.Minute
		l := openMemory(t, NewMemory(), cfg)
		start := mustBounds(t, l).First
		p1 := mustPublish(t, l, 1, "a", "b")
		time.Sleep(time.Minute)
		if got := readAll(t, l, start); len(got) != 2 {
			t.Fatalf("kept %q for less than the retention", got)
		}
		mustPublish(t, l, 2, "c")
		time.Sleep(time.Second)
		if _, err := l.Read(t.Context(), start, 1); !errors.Is(err, ErrTrimmed) {
			t.Fatalf("got %v", err)
		}
		if got := readAll(t, l, p1[1]); !slices.Equal(got, []string{"c"}) {
			t.Fatalf("got %q", got)
		}
		time.Sleep(time.Hour)
		if got := readAll(t, l, p1[1]); !slices.Equal(got, []string{"c"}) {
			t.Fatalf("the newest entry was trimmed: %q", got)
		}
	})
}

func TestMemoryTrimsByBytesExactly(t *testing.T) {
	cfg := testConfig("n")
	cfg.RetentionBytes = 10 * (entryOverhead + 1)
	l := openMemory(t, NewMemory(), cfg)
	for i := range 1000 {
		mustPublish(t, l, uint64(i+1), "x")
		b := mustBounds(t, l)
		if kept := b.Last.Seq - b.First.Seq; kept != uint64(min(i+1, 10)) {
			t.Fatalf("after %d entries %d are kept", i+1, kept)
		}
	}
}

func TestMemoryForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		l := openMemory(t, m, testConfig("n"))
		for i := range 5000 {
			b := Batch{Producer: fmt.Sprint("p", i), Number: 1, Messages: []Message{{Key: fmt.Sprint("k", i), Data: []byte("x")}}}
			if _, err := l.Publish(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			f := Fact{Client: fmt.Sprint("c", i), Kind: FactMetadata, TTL: time.Second}
			if err := l.Put(t.Context(), []Fact{f}); err != nil {
				t.Fatal(err)
			}
			s := Session{ID: fmt.Sprint("s", i), Client: f.Client, Node: "n"}
			if _, err := l.Update(t.Context(), "n", []Session{s}, []string{s.ID}); err != nil {
				t.Fatal(err)
			}
			left, err := l.Collect(t.Context(), "n", 100)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Settle(t.Context(), "n", append(left, Debt{Kind: SessionEnded, Session: s})); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		ns := m.namespace("n")
		for what, n := range map[string]int{
			"producers":      ns.once.producers.len(),
			"keys":           ns.once.keys.len(),
			"facts":          ns.register.facts.count,
			"ended sessions": ns.register.ended.len(),
			"clients":        len(ns.register.clients),
			"slots":          cap(ns.history.slots),
		} {
			if n > 2000 {
				t.Errorf("%d %s are remembered", n, what)
			}
		}
	})
}

func TestMemoryFollowerWakesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openMemory(t, NewMemory(), testConfig("n"))
		c := newCollector()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		start := mustBounds(t, l).Last
		go func() { done <- l.Follow(ctx, start, c) }()
		synctest.Wait()
		if len(c.links) != 1 || <-c.links != nil {
			t.Fatal("a follower was not told that it reached the bus")
		}
		before := time.Now()
		mustPublish(t, l, 1, "a", "b")
		synctest.Wait()
		if len(c.data) != 2 || <-c.data != "a" || time.Since(before) != 0 {
			t.Fatal("not delivered at once")
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

func TestMemoryRollback(t *testing.T) {
	for name, opts := range map[string][]MemoryOption{"numbers new": {WithHoles()}, "numbers again": {WithTags()}} {
		t.Run(name, func(t *testing.T) {
			m := NewMemory(opts...)
			l := openMemory(t, m, testConfig("n"))
			p := mustPublish(t, l, 1, "a", "b", "c")
			m.Tamper("n").Rollback(2)
			if _, err := l.Read(t.Context(), p[2], 1); !errors.Is(err, ErrEpoch) {
				t.Fatalf("behind a lost entry: %v", err)
			}
			mustPublish(t, l, 2, "d", "e", "f")
			for _, lost := range p[1:] {
				if _, err := l.Read(t.Context(), lost, 1); !errors.Is(err, ErrEpoch) {
					t.Fatalf("behind a lost entry whose place is taken: %v", err)
				}
			}
			if got := readAll(t, l, p[0]); !slices.Equal(got, []string{"d", "e", "f"}) {
				t.Fatalf("got %q", got)
			}
		})
	}
}

func TestMemoryMarksAndForeignEntries(t *testing.T) {
	m := NewMemory()
	l := openMemory(t, m, testConfig("n"))
	p := mustPublish(t, l, 1, "a")
	m.Tamper("n").Mark()
	m.Tamper("n").Foreign()
	m.Tamper("n").Mark()
	page, err := l.Read(t.Context(), p[0], 1)
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Data != nil {
		t.Fatalf("got %+v, %v", page, err)
	}
	if last := mustBounds(t, l).Last; page.Upto != last || page.Entries[0].Position == last {
		t.Fatalf("the page ends at %v, the log at %v", page.Upto, last)
	}
	m.Tamper("n").Trim(0)
	tail, err := l.Tail(t.Context(), 100)
	if err != nil || len(tail.Entries) != 1 {
		t.Fatalf("the newest entry was trimmed: %+v, %v", tail, err)
	}
}

func TestMemoryLose(t *testing.T) {
	m := NewMemory(WithSeed(1))
	l := openMemory(t, m, testConfig("n"))
	p := mustPublish(t, l, 1, "a")
	if err := l.Renew(t.Context(), "n1", time.Minute); err != nil {
		t.Fatal(err)
	}
	m.Tamper("n").Lose()
	if _, err := l.Read(t.Context(), p[0], 1); !errors.Is(err, ErrEpoch) {
		t.Fatal(err)
	}
	if b := mustBounds(t, l); b.Epoch == p[0].Epoch || b.Last.Seq != 0 {
		t.Fatalf("got %+v", b)
	}
}

// A Memory waits in the calls of others and nowhere else.
func TestMemoryIdleHasNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	l := openMemory(t, NewMemory(), testConfig("n"))
	mustPublish(t, l, 1, "a")
	if err := l.Renew(t.Context(), "n1", time.Minute); err != nil {
		t.Fatal(err)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Fatalf("%d goroutines became %d", before, after)
	}
}

func TestMemoryRefusesBadBatches(t *testing.T) {
	l := openMemory(t, NewMemory(), testConfig("n"))
	one := []Message{{Data: []byte("x")}}
	for name, b := range map[string]Batch{
		"no producer":    {Number: 1, Messages: one},
		"no number":      {Producer: "p", Messages: one},
		"no messages":    {Producer: "p", Number: 1},
		"bad key":        {Producer: "p", Number: 1, Messages: []Message{{Key: "a b"}}},
		"long key":       {Producer: "p", Number: 1, Messages: []Message{{Key: strings.Repeat("x", 65)}}},
		"foreign key":    {Producer: "p", Number: 1, Messages: []Message{{Key: "é"}}},
		"bad producer":   {Producer: "\xff", Number: 1, Messages: one},
		"among good one": {Producer: "p", Number: 1, Messages: []Message{{}, {Key: "*"}}},
	} {
		if _, err := l.Publish(t.Context(), b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	mustPublish(t, l, 1, "a", "b")
	if _, err := l.Publish(t.Context(), Batch{Producer: "p", Number: 1, Messages: one}); err == nil {
		t.Error("a batch repeated with fewer messages: accepted")
	}
	if b := mustBounds(t, l); b.Last.Seq != 2 {
		t.Errorf("the log ends at %v", b.Last)
	}
}

func TestMemoryRefusesBadRegistrations(t *testing.T) {
	l := openMemory(t, NewMemory(), testConfig("n"))
	for name, s := range map[string]Session{
		"another node": {ID: "s", Client: "c", Node: "other"},
		"no id":        {Client: "c", Node: "n"},
		"no client":    {ID: "s", Node: "n"},
		"bad topic":    {ID: "s", Client: "c", Node: "n", Topics: []string{"t", ""}},
	} {
		if _, err := l.Update(t.Context(), "n", []Session{s}, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := l.Renew(t.Context(), "n", 0); err == nil {
		t.Error("a lease of no time: accepted")
	}
	for name, f := range map[string]Fact{
		"no client": {Kind: FactMetadata, TTL: time.Minute},
		"no TTL":    {Client: "c", Kind: FactMetadata},
	} {
		if err := l.Put(t.Context(), []Fact{f}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A second leaving is not mixed up with one whose callback still runs.
func TestMemoryLeavesOneAtATime(t *testing.T) {
	cfg := testConfig("n")
	cfg.ResumeGrace = 0
	l := openMemory(t, NewMemory(), cfg)
	left := Debt{Kind: ClientLeft, Session: Session{Client: "c"}}
	come := func(id string) {
		t.Helper()
		r, err := l.Update(t.Context(), "n", []Session{{ID: id, Client: "c", Node: "n"}}, []string{id})
		if err != nil || !slices.Equal(r.Joined, []string{"c"}) {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	collect := func(want int) {
		t.Helper()
		debts, err := l.Collect(t.Context(), "n", 10)
		if err != nil || len(debts) != want {
			t.Fatalf("collected %+v, %v; want %d", debts, err, want)
		}
	}
	come("a")
	collect(1)
	come("b")
	collect(0)
	if err := l.Settle(t.Context(), "n", []Debt{left}); err != nil {
		t.Fatal(err)
	}
	collect(1)
}

func TestMemoryCloseWaitsForItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := NewMemory().Open(t.Context(), testConfig("n"))
		if err != nil {
			t.Fatal(err)
		}
		start := mustBounds(t, l).Last
		gate, done := make(chan struct{}), make(chan error)
		go func() { done <- l.Follow(t.Context(), start, stuck(gate)) }()
		mustPublish(t, l, 1, "a")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close with a follower that does not return: %v", err)
		}
		close(gate)
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// stuck is a follower that returns when its channel is closed.
type stuck chan struct{}

func (stuck) Link(error)    {}
func (s stuck) Page(p Page) { <-s }

// The zero Memory is an empty bus; a nil one is an error, not a panic.
func TestMemoryWithoutNew(t *testing.T) {
	mustPublish(t, openMemory(t, new(Memory), testConfig("n")), 1, "x")
	if _, err := (*Memory)(nil).Open(t.Context(), testConfig("n")); err == nil {
		t.Error("a nil Memory was opened")
	}
}
