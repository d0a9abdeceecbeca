package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

func TestConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe")
		other := connect(t, b, "joe")
		c := r.conn
		if c.Id() != "joe" || c.SessionId() == "" || c.SessionId() == other.conn.SessionId() || c.LastEventID() != "" {
			t.Errorf("Id %q, SessionId %q (the other's is %q), LastEventID %q", c.Id(), c.SessionId(), other.conn.SessionId(), c.LastEventID())
		}
		if c.Err() != nil || r.ended() {
			t.Error("has ended")
		}
		must(t, c.Send(text("x")))
		r.wants("x")
		other.wants()
		c.Close("enough")
		r.wait()
		mustBe(t, c.Err(), broker.ErrDisconnected)
		if !strings.Contains(c.Err().Error(), "enough") {
			t.Errorf("Err is %v", c.Err())
		}
		c.Close("again")
		if other.ended() {
			t.Error("the other connection has ended too")
		}
		connect(t, b, "joe") // is welcome
	})
}

// The first bytes: when to come back, and from where; nothing that a page would see.
func TestGreeting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithRetry(3*time.Second, 0))
		pos := publish(t, b, broker.Everyone(), text("before"))
		synctest.Wait()
		r := connect(t, b, "joe")
		synctest.Wait()
		if want := "retry: 3000\nid: " + pos.String() + "\n\n"; r.text() != want {
			t.Errorf("stream is %q, want %q", r.text(), want)
		}
		at := r.lastID()
		must(t, b.Broadcast(text("after")))
		connectFrom(t, b, "joe", at).wants("after")
	})
}

func TestRetryIsJittered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithRetry(time.Second, time.Second))
		seen := make(map[time.Duration]bool)
		for range 50 {
			r := connect(t, b, "joe")
			synctest.Wait()
			retry := r.parsed().retry
			if retry < time.Second || retry > 2*time.Second {
				t.Errorf("retry: %v", retry)
			}
			seen[retry] = true
		}
		if len(seen) < 10 {
			t.Errorf("%d different times for 50 clients", len(seen))
		}
	})
}

// A connection's own Send is outside the log: no id, not for others, not replayed.
func TestSendOfAConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe")
		synctest.Wait()
		at := r.lastID()
		must(t, r.conn.Send(sse.StringEvent{Id: "mine", Event: "e", Data: "x"}))
		must(t, r.conn.Send(sse.HeartbeatEvent{}))
		must(t, r.conn.Send(&sse.JsonEvent{Data: 1}))
		r.wants("x", "1")
		if p := r.parsed(); strings.Contains(r.text(), "mine") || p.lastID != at || len(p.comments) != 1 {
			t.Errorf("stream %q", r.text())
		}
		connectFrom(t, b, "joe", at).wants()
	})
}

func TestSendToAClosedConnection(t *testing.T) {
	for name, end := range map[string]struct {
		by   func(*broker.Broker, *reader)
		want error
	}{
		"client gone": {func(_ *broker.Broker, r *reader) { r.cancel() }, broker.ErrClientGone},
		"broken":      {func(b *broker.Broker, r *reader) { r.breakOff(); _ = b.Broadcast(text("x")) }, broker.ErrClientGone},
		"closed":      {func(_ *broker.Broker, r *reader) { r.conn.Close("") }, broker.ErrDisconnected},
		"kicked":      {func(b *broker.Broker, _ *reader) { _ = b.Disconnect(context.Background(), "joe", "") }, broker.ErrDisconnected},
		"closing":     {func(b *broker.Broker, _ *reader) { _ = b.Close() }, broker.ErrDraining},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := start(t)
				r := connect(t, b, "joe")
				synctest.Wait()
				end.by(b, r)
				r.wait()
				for what, err := range map[string]error{
					"Err": r.conn.Err(), "Send": r.conn.Send(text("x")), "Join": r.conn.Join("room"), "Leave": r.conn.Leave("room"),
				} {
					if !errors.Is(err, end.want) {
						t.Errorf("%s: %v, want %v", what, err, end.want)
					}
				}
				r.conn.Close("")
			})
		})
	}
}

func TestClientGoneBeforeConnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := new(journal)
		b := start(t)
		b.SetDisconnectCallback(func(client, _ string) { j.note("%s", client) })
		connected := 0
		for range 100 {
			r, cancel := request(t)
			cancel()
			conn, err := b.Connect("joe", newSink(), r)
			if err == nil {
				connected++
				<-conn.Done()
				err = conn.Err()
			}
			mustBe(t, err, broker.ErrClientGone)
		}
		synctest.Wait()
		if b.IsClientPresent("joe") {
			t.Error("is present")
		}
		if s := b.Stats(); s.Sessions != 0 || s.Clients != 0 {
			t.Errorf("stats %+v", s)
		}
		if n := len(j.all()); n < connected {
			t.Errorf("%d callbacks for %d connections", n, connected)
		}
	})
}

// The client goes while its registration hangs.
func TestClientGoneDuringConnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := start(t, broker.WithBackplane(wire))
		wire.cutOff()
		r, cancel := request(t)
		time.AfterFunc(500*time.Millisecond, cancel)
		begun := time.Now()
		k := newSink()
		_, err := b.Connect("joe", k, r)
		mustBe(t, err, broker.ErrClientGone)
		if took := time.Since(begun); took != 500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if k.written() != "" {
			t.Errorf("wrote %q", k.written())
		}
		wire.heal()
		time.Sleep(5 * time.Second)
		if b.IsClientPresent("joe") || b.Stats().Sessions != 0 {
			t.Error("it has left something behind")
		}
	})
}

func TestClientGoneAfterConnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		var gone []string
		b.SetDisconnectCallback(func(client, session string) { gone = append(gone, client+" "+session) })
		r := connect(t, b, "joe")
		synctest.Wait()
		r.leave()
		synctest.Wait()
		mustBe(t, r.conn.Err(), broker.ErrClientGone)
		if len(gone) != 1 || gone[0] != "joe "+r.conn.SessionId() {
			t.Errorf("callbacks %q", gone)
		}
		if b.IsClientPresent("joe") {
			t.Error("is present")
		}
	})
}

// What the application does upon open finds the client: on its node, and on others.
func TestPresentAsSoonAsConnected(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		for i := range 20 {
			name := fmt.Sprint("client ", i)
			connect(t, nodes[i%2], name)
			if !nodes[0].IsClientPresent(name) || !nodes[1].IsClientPresent(name) {
				t.Fatal("is not present")
			}
		}
	})
}

// A reader that stops reading holds nobody up. It is closed when its write deadline
// passes, and goes on elsewhere, exactly.
func TestReaderThatStopsReading(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2, broker.WithWriteDeadline(10*time.Second))
		a, b := nodes[0], nodes[1]
		slow, fast := connect(t, a, "slow"), connect(t, a, "fast")
		must(t, a.Broadcast(text("seen")))
		slow.wants("seen")
		slow.stall()
		stalledAt := time.Now()
		var want []string
		for i := range 5000 {
			want = append(want, fmt.Sprint(i))
			must(t, a.Broadcast(text(want[i])))
		}
		fast.wants(append([]string{"seen"}, want...)...)
		if took := time.Since(stalledAt); took > time.Second {
			t.Errorf("publishing took %v", took)
		}
		if slow.ended() {
			t.Error("closed before its deadline")
		}
		slow.wait()
		if d := time.Since(stalledAt); d < 5*time.Second || d > 11*time.Second {
			t.Errorf("closed after %v", d)
		}
		mustBe(t, slow.conn.Err(), broker.ErrSlowSession)
		slow.wants("seen")
		connectFrom(t, b, "slow", slow.lastID()).wants(want...)
	})
}

// A reader that is slow, but reads, keeps its connection and misses nothing.
func TestReaderThatPauses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithWriteDeadline(10*time.Second))
		r := connect(t, b, "joe")
		r.wants()
		var want []string
		for i := range 10 {
			r.stall()
			for k := range 500 {
				want = append(want, fmt.Sprint(i, " ", k))
				must(t, b.Broadcast(text(want[len(want)-1])))
			}
			time.Sleep(5 * time.Second)
			r.resume()
			time.Sleep(time.Second)
		}
		r.wants(want...)
		if s := b.Stats(); s.FallenBehind == 0 || s.Resets != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// Direct events wait in a queue that is bounded.
func TestTooManyDirectEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe")
		r.wants()
		r.stall()
		must(t, r.conn.Send(text("under way")))
		synctest.Wait()
		for range 128 {
			must(t, r.conn.Send(text("x")))
		}
		mustBe(t, r.conn.Send(text("too much")), broker.ErrSlowSession)
		r.resume()
		if n := len(r.data()); n != 129 {
			t.Errorf("%d events", n)
		}
		must(t, r.conn.Send(text("room again")))
		if r.ended() {
			t.Error("has ended")
		}
	})
}

// A connection's own topics start and end now.
func TestJoinAndLeaveOfAConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		r, other := connect(t, a, "joe"), connect(t, a, "joe")
		publish(t, b, broker.Topics("room"), text("before"))
		r.wants()
		must(t, r.conn.Join("room", "hall"))
		must(t, r.conn.Join("room"))
		publish(t, b, broker.Topics("room", "hall"), text("1"))
		r.wants("1")
		must(t, r.conn.Leave("hall"))
		must(t, r.conn.Leave("hall", "never joined"))
		publish(t, b, broker.Topics("hall"), text("left"))
		publish(t, b, broker.Topics("room", "hall"), text("2"))
		r.wants("1", "2")
		other.wants()
		sessions, err := b.Sessions(t.Context(), "joe")
		must(t, err)
		for _, s := range sessions {
			if mine := s.ID == r.conn.SessionId(); mine != (len(s.Topics) == 1) {
				t.Errorf("topics %q of %s", s.Topics, s.ID)
			}
		}
		// Not resumed, unless named again.
		publish(t, b, broker.Topics("room"), text("3"))
		r.wants("1", "2", "3")
		at := r.lastID()
		publish(t, b, broker.Topics("room"), text("4"))
		connectFrom(t, b, "joe", at).wants()
		connectFrom(t, b, "joe", at, broker.FollowTopics("room")).wants("4")
	})
}

// A leave drops what was not written yet.
func TestLeaveDropsWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe", broker.FollowTopics("room", "hall"))
		r.wants()
		r.stall()
		must(t, b.Broadcast(text("under way")))
		synctest.Wait()
		publish(t, b, broker.Topics("room"), text("dropped"))
		publish(t, b, broker.Topics("room", "hall"), text("both"))
		must(t, b.Broadcast(text("all")))
		synctest.Wait()
		must(t, r.conn.Leave("room"))
		r.resume()
		r.wants("under way", "both", "all")
	})
}

// Connections come, go, send, join and leave from everywhere at once.
func TestConnectionsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		var mu sync.Mutex
		gone := make(map[string]int)
		for _, b := range nodes {
			b.SetDisconnectCallback(func(_, session string) { mu.Lock(); defer mu.Unlock(); gone[session]++ })
		}
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				b := nodes[i%2]
				for range 5 {
					r := connect(t, b, fmt.Sprint("client ", i%7))
					_ = r.conn.Join("room")
					_ = b.Broadcast(text("x"))
					_ = r.conn.Send(text("y"))
					if i%3 == 0 {
						r.conn.Close("")
					}
					_ = r.conn.Leave("room")
					r.leave()
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(gone) != 200 {
			t.Errorf("%d sessions were reported", len(gone))
		}
		for session, n := range gone {
			if n != 1 {
				t.Errorf("%s was reported %d times", session, n)
			}
		}
	})
}

var _ backplane.Backplane = (*unreliable)(nil)
