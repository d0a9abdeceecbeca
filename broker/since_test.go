package broker_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
)

func TestSince(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		for i := range 10 {
			publish(t, b, broker.Topics([]string{"even", "odd"}[i%2]), text(fmt.Sprint(i)))
			time.Sleep(time.Second)
		}
		connect(t, b, "joe", broker.FollowTopics("even"), broker.Since(5500*time.Millisecond)).wants("6", "8")
		connect(t, b, "joe", broker.FollowTopics("even"), broker.Since(6*time.Second)).wants("4", "6", "8") // 4 was 6 seconds ago
		connect(t, b, "joe", broker.FollowTopics("even"), broker.Since(time.Millisecond)).wants()
		all := connect(t, b, "joe", broker.FollowTopics("even", "odd"), broker.Since(time.Hour))
		all.wants("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
		if !strings.HasPrefix(all.text(), "retry: ") {
			t.Errorf("stream %q", all.text())
		}
		must(t, b.Broadcast(text("new")))
		all.wants("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "new")
		// A Last-Event-ID wins.
		connectFrom(t, b, "joe", all.lastID(), broker.Since(time.Hour)).wants()
	})
}

// The longest time is from the beginning, whatever the clocks say.
func TestSinceEver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := start(t, broker.WithBackplane(wire))
		must(t, b.Broadcast(text("1")))
		wire.Late(time.Second, time.Second) // so that the clock of the bus seems to be behind
		must(t, b.Broadcast(text("2")))
		time.Sleep(2 * time.Minute)
		must(t, b.Broadcast(text("3")))
		time.Sleep(2 * time.Second)
		r := connect(t, b, "joe", broker.Since(math.MaxInt64))
		time.Sleep(2 * time.Second)
		r.wants("1", "2", "3")
	})
}

// What is older than the window comes from the bus, as far as it has it, and what it
// has not any more was not asked for.
func TestSinceBeforeTheWindow(t *testing.T) {
	for _, trim := range []int{0, 60} {
		t.Run(fmt.Sprint("trimmed to ", trim), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				bus := newBus()
				b := start(t, broker.WithBackplane(bus), broker.WithWindow(1<<10))
				var want []string
				for i := range 100 {
					publish(t, b, broker.Everyone(), text(fmt.Sprint(i)))
					want = append(want, fmt.Sprint(i))
					time.Sleep(time.Second)
				}
				if trim > 0 {
					bus.Tamper("default").Trim(trim)
				}
				part := connect(t, b, "joe", broker.Since(20500*time.Millisecond))
				time.Sleep(2 * time.Second)
				part.wants(want[80:]...)
				all := connect(t, b, "joe", broker.Since(time.Hour))
				time.Sleep(2 * time.Second)
				all.wants(want[len(want)-max(trim, 100*(1-min(trim, 1))):]...)
				if n := b.Stats().Resets; n != 0 {
					t.Errorf("%d resets", n)
				}
			})
		})
	}
}

// After an epoch change too, there is nothing to announce to who has just come.
func TestSinceInANewEpoch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		b := start(t, broker.WithBackplane(bus))
		must(t, b.Broadcast(text("lost")))
		synctest.Wait()
		bus.Tamper("default").NewEpoch(0)
		time.Sleep(10 * time.Second)
		must(t, b.Broadcast(text("1")))
		synctest.Wait()
		r := connect(t, b, "joe", broker.Since(time.Hour))
		time.Sleep(time.Second)
		must(t, b.Broadcast(text("2")))
		time.Sleep(time.Second)
		r.wants("1", "2")
	})
}

func TestSinceOnAnEmptyLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe", broker.Since(time.Hour))
		r.wants()
		must(t, b.Broadcast(text("1")))
		r.wants("1")
	})
}

// Position before the state is read, connecting from it: nothing falls between.
func TestSincePosition(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		must(t, a.Broadcast(text("before")))
		pos, err := b.Position(t.Context())
		must(t, err)
		must(t, a.Broadcast(text("between")))
		synctest.Wait()
		r := connect(t, b, "joe", broker.SincePosition(pos))
		must(t, a.Broadcast(text("after")))
		r.wants("between", "after")
		if r.conn.LastEventID() != "" {
			t.Errorf("LastEventID is %q", r.conn.LastEventID())
		}
		connectFrom(t, b, "joe", r.lastID(), broker.SincePosition(pos)).wants() // a Last-Event-ID wins
		k := newSink()
		req, _ := request(t)
		_, err = b.Connect("joe", k, req, broker.SincePosition(broker.Position{})) // no place, as after an error of Position
		isNamed(t, "Connect", err, "SincePosition")
		foreign, err := broker.ParsePosition("~abc.1")
		must(t, err)
		gone := connect(t, b, "joe", broker.SincePosition(foreign))
		synctest.Wait()
		gone.wantsReset(broker.ResetHistory)
	})
}

// The position covers everything that any node has published before.
func TestPosition(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		first, err := nodes[0].Position(t.Context())
		must(t, err)
		if first.IsZero() {
			t.Error("an empty log has an end too")
		}
		for range 10 {
			published := publish(t, nodes[0], broker.Everyone(), text("x"))
			pos, err := nodes[1].Position(t.Context())
			must(t, err)
			if pos != published {
				t.Errorf("position %v, published %v", pos, published)
			}
			parsed, err := broker.ParsePosition(pos.String())
			if err != nil || parsed != pos {
				t.Errorf("parsed %v, %v", parsed, err)
			}
		}
	})
}
