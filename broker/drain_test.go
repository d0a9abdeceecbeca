package broker_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/broker"
)

// A drain tells clients to come back, jittered, and where they stand; closes them one
// after the other; publishes what was published; and runs the callbacks.
func TestShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2, broker.WithRetry(time.Second, time.Second))
		a, b := nodes[0], nodes[1]
		j := new(journal)
		a.SetDisconnectCallback(func(client, _ string) { j.note("%s", client) })
		const n = 200
		var readers []*reader
		for range n {
			readers = append(readers, connect(t, a, "joe", broker.FollowTopics("room")))
		}
		pos := publish(t, a, broker.ToClient("ann"), text("not for joe"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		var ends []time.Duration
		var wg sync.WaitGroup
		var mu sync.Mutex
		for _, r := range readers {
			wg.Go(func() {
				<-r.done
				mu.Lock()
				defer mu.Unlock()
				ends = append(ends, time.Since(begun))
			})
		}
		var refused error
		wg.Go(func() {
			time.Sleep(time.Second)
			mustBe(t, a.Ready(), broker.ErrDraining)
			k := newSink()
			r, _ := request(t)
			_, refused = a.Connect("late", k, r)
			isComeBack(t, k)
			must(t, a.Broadcast(text("during the drain")))
		})
		must(t, a.Shutdown(ctx))
		took := time.Since(begun)
		wg.Wait()
		mustBe(t, refused, broker.ErrDraining)
		if took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		slices.Sort(ends)
		if ends[n-1]-ends[0] < 2*time.Second {
			t.Errorf("the sessions ended within %v", ends[n-1]-ends[0])
		}
		retries := make(map[time.Duration]bool)
		got, fresh := 0, 0
		for _, r := range readers {
			mustBe(t, r.conn.Err(), broker.ErrDraining)
			p := r.parsed()
			retries[p.retry] = true
			last, err := broker.ParsePosition(p.lastID)
			if p.retry < time.Second || p.retry > 2*time.Second || err != nil {
				t.Fatalf("stream %q", r.text())
			}
			if last.Seq >= pos.Seq {
				fresh++
			}
			for _, m := range p.events {
				if m.Data != "during the drain" {
					t.Fatalf("stream %q", r.text())
				}
				got++
			}
		}
		if len(retries) < n/4 {
			t.Errorf("only %d different retry times", len(retries))
		}
		if fresh < n-5 { // one may be ended with an event in its queue
			t.Errorf("only %d cursors are fresh", fresh)
		}
		if got == 0 || got == n {
			t.Errorf("%d of the sessions were served during the drain", got)
		}
		if len(j.all()) != n {
			t.Errorf("%d callbacks", len(j.all()))
		}
		// They all come back, and have all of it, once.
		for _, r := range readers[:50] {
			have := r.data()
			back := connectFrom(t, b, "joe", r.lastID(), broker.FollowTopics("room"))
			if have = append(have, back.data()...); !slices.Equal(have, []string{"during the drain"}) {
				t.Fatalf("received %q", have)
			}
		}
		mustBe(t, a.Broadcast(text("x")), broker.ErrClosed)
		mustBe(t, a.Ready(), broker.ErrClosed)
	})
}

func TestShutdownOfAnIdleNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := broker.NewBroker(nil)
		must(t, b.Start(t.Context()))
		begun := time.Now()
		must(t, b.Shutdown(t.Context()))
		must(t, b.Shutdown(t.Context()))
		must(t, broker.NewBroker(nil).Shutdown(t.Context())) // never used
		if took := time.Since(begun); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// When the context ends the rest is cut short.
func TestShutdownThatIsCutShort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := broker.NewBroker(nil)
		release := make(chan struct{})
		b.SetDisconnectCallback(func(_, _ string) { <-release })
		r := connect2(t, b, "joe")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		mustBe(t, b.Shutdown(ctx), context.DeadlineExceeded)
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
		r.wait()
		close(release)
		must(t, b.Close())
	})
}

func TestShutdownWithAContextThatHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := broker.NewBroker(nil)
		readers := []*reader{connect2(t, b, "joe"), connect(t, b, "ann")}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Shutdown(ctx); err != nil {
			mustBe(t, err, context.Canceled)
		}
		for _, r := range readers {
			r.wait()
		}
		must(t, b.Close())
	})
}

// A drain begins while connections are being set up: each gets a stream that ends, or
// is told to come back.
func TestShutdownWhileConnecting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		b := nodes[0]
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				k := newSink()
				r, _ := request(t)
				if err := b.Serve(k, r, broker.Client{ID: "joe"}); err == nil {
					t.Error("no reason")
				}
				if k.code() != http.StatusOK || !strings.Contains(k.written(), "retry: ") {
					t.Errorf("answered %d %q", k.code(), k.written())
				}
			})
		}
		wg.Go(func() { must(t, b.Shutdown(t.Context())) })
		wg.Wait()
		synctest.Wait()
		if s := b.Stats(); s.Sessions != 0 || s.Clients != 0 {
			t.Errorf("stats %+v", s)
		}
		if nodes[1].IsClientPresent("joe") {
			t.Error("a session is left")
		}
	})
}

// A callback that has run is not repeated by another node because the end was cut short
// before the bus had been told.
func TestShutdownCutShortRepeatsNoCallback(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, bus := cluster(t, 1, broker.WithLease(3*time.Second))
		line := backplanetest.NewFaults(bus, 1).Line("slow")
		slow := start(t, broker.WithBackplane(line), broker.WithLease(3*time.Second))
		j := new(journal)
		for _, b := range []*broker.Broker{nodes[0], slow} {
			b.SetDisconnectCallback(func(client, _ string) { j.note("%s", client) })
		}
		connect(t, slow, "joe").wants()
		time.Sleep(5 * time.Second)
		line.Delay(50*time.Millisecond, 50*time.Millisecond)
		// 100 ms until the session has ended, then the callback, then 100 ms to settle it.
		ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
		defer cancel()
		mustBe(t, slow.Shutdown(ctx), context.DeadlineExceeded)
		time.Sleep(10 * time.Second)
		j.wants(t, "joe")
	})
}
