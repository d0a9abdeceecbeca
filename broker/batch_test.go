package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/broker"
)

// What is published one after the other arrives in that order, and what is published
// at once arrives once, in the order of the positions.
func TestOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 3)
		r := connect(t, nodes[2], "joe")
		var wg sync.WaitGroup
		var mu sync.Mutex
		at := make(map[broker.Position]string)
		for g := range 10 {
			wg.Go(func() {
				var last uint64
				for i := range 50 {
					data := fmt.Sprint(g, " ", i)
					pos := publish(t, nodes[g%2], broker.Everyone(), text(data))
					if pos.Seq <= last {
						t.Errorf("%v after %d", pos, last)
					}
					last = pos.Seq
					mu.Lock()
					at[pos] = data
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		positions := make([]broker.Position, 0, len(at))
		for pos := range at {
			positions = append(positions, pos)
		}
		slices.SortFunc(positions, func(a, b broker.Position) int { return int(a.Seq) - int(b.Seq) })
		var want []string
		for _, pos := range positions {
			want = append(want, at[pos])
		}
		if len(want) != 500 {
			t.Errorf("%d different positions", len(want))
		}
		r.wants(want...)
	})
}

// What is published while a batch is under way leaves together in the next.
func TestBatches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		faults := backplanetest.NewFaults(newBus(), 1)
		wire := newUnreliable(faults.Line("slow"))
		b := start(t, broker.WithBackplane(wire))
		r := connect(t, b, "joe")
		faults.Line("slow").Delay(50*time.Millisecond, 50*time.Millisecond)
		before, begun := wire.count("Publish"), time.Now()
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() { must(t, b.Broadcast(text("x"))) })
		}
		wg.Wait()
		if took := time.Since(begun); took > 500*time.Millisecond {
			t.Errorf("200 events took %v, with 100 ms for a round trip", took)
		}
		if n := wire.count("Publish") - before; n > 5 {
			t.Errorf("%d round trips", n)
		}
		time.Sleep(time.Second)
		if n := len(r.data()); n != 200 {
			t.Errorf("%d events", n)
		}
		faults.Calm()
	})
}

// A batch that fails before or after the bus has taken it is tried again, and counts once.
func TestBatchThatFailsCountsOnce(t *testing.T) {
	for name, when := range map[string]backplanetest.When{"before": backplanetest.Before, "after": backplanetest.After} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				faults := backplanetest.NewFaults(newBus(), 1)
				a, b := start(t, broker.WithBackplane(faults.Line("a"))), start(t, broker.WithBackplane(faults.Line("b")))
				r := connect(t, b, "joe")
				var want []string
				for i := range 20 {
					faults.Line("a").Fail(backplanetest.Publish, when, i%4)
					want = append(want, fmt.Sprint(i))
					must(t, a.Broadcast(text(want[i])))
				}
				r.wants(want...)
			})
		})
	}
}

// Each caller waits on its own context; a batch is tried until the last has given up.
func TestCallersOfABatchGiveUpForThemselves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		faults := backplanetest.NewFaults(newBus(), 1)
		b := start(t, broker.WithBackplane(faults.Line("b")), broker.WithLease(time.Hour))
		r := connect(t, b, "joe")
		synctest.Wait()
		faults.Line("b").Cut(backplanetest.Hang)
		begun := time.Now()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*time.Second)
				defer cancel()
				_, err := b.Publish(ctx, broker.Everyone(), text(fmt.Sprint(i)))
				if i < 5 {
					mustBe(t, err, broker.ErrUnavailable)
					if took := time.Since(begun); took != time.Duration(i+1)*time.Second {
						t.Errorf("caller %d: %v", i, took)
					}
				} else if err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
			})
		}
		time.Sleep(5*time.Second + 500*time.Millisecond)
		faults.Heal()
		wg.Wait()
		time.Sleep(3 * time.Second)
		got := r.data()
		for i := 5; i < 10; i++ {
			n := 0
			for _, data := range got {
				if data == fmt.Sprint(i) {
					n++
				}
			}
			if n != 1 {
				t.Errorf("event %d arrived %d times in %q", i, n, got)
			}
		}
	})
}

// small is a bus that takes no large entries.
type small struct{ backplane.Backplane }

func (s small) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	log, err := s.Backplane.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return smallLog{log}, nil
}

type smallLog struct{ backplane.Log }

func (l smallLog) Publish(ctx context.Context, b backplane.Batch) ([]backplane.Position, error) {
	time.Sleep(10 * time.Millisecond) // so that batches come about
	for _, m := range b.Messages {
		if len(m.Data) > 1000 {
			return nil, backplane.ErrTooLarge
		}
	}
	return l.Log.Publish(ctx, b)
}

// An event that is too large for the bus fails alone.
func TestEventTooLargeForTheBus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithBackplane(small{newBus()}))
		r := connect(t, b, "joe")
		mustBe(t, b.Broadcast(text(strings.Repeat("x", 2000))), broker.ErrEventTooLarge)
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				if i%10 == 5 {
					mustBe(t, b.Broadcast(text(strings.Repeat("x", 2000))), broker.ErrEventTooLarge)
				} else {
					must(t, b.Broadcast(text("fits")))
				}
			})
		}
		wg.Wait()
		if n := len(r.data()); n != 27 {
			t.Errorf("%d events", n)
		}
	})
}

// What waits for the bus is bounded: what is too much is refused at once.
func TestTooMuchWaitsForTheBus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		faults := backplanetest.NewFaults(newBus(), 1)
		b := start(t, broker.WithBackplane(faults.Line("b")), broker.WithLease(time.Hour), broker.WithWindow(1<<20))
		synctest.Wait()
		faults.Line("b").Cut(backplanetest.Hang)
		large := text(strings.Repeat("x", 1<<20-100))
		var mu sync.Mutex
		var wg sync.WaitGroup
		atOnce, later := 0, 0
		begun := time.Now()
		for range 80 {
			wg.Go(func() {
				err := b.Broadcast(large)
				mu.Lock()
				defer mu.Unlock()
				mustBe(t, err, broker.ErrUnavailable)
				if time.Since(begun) == 0 {
					atOnce++
				} else {
					later++
				}
			})
		}
		wg.Wait()
		if atOnce < 10 || later < 60 {
			t.Errorf("%d were refused at once, %d waited", atOnce, later)
		}
		faults.Heal()
		time.Sleep(3 * time.Second)
		must(t, b.Broadcast(text("room again")))
	})
}

// A call whose context has ended publishes nothing.
func TestPublishWithAContextThatHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe")
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the user went away")
		cancel(why)
		_, err := b.Publish(ctx, broker.Everyone(), text("x"))
		mustBe(t, err, broker.ErrUnavailable)
		r.wants()
	})
}
