package broker_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
)

// A quiet connection is sent the position of its node, so that its cursor does not age,
// in blocks that a page does not see.
func TestHeartbeat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe")
		synctest.Wait()
		greeted := r.text()
		time.Sleep(14 * time.Second)
		if r.text() != greeted {
			t.Errorf("sent early: %q", r.text())
		}
		pos := publish(t, b, broker.ToClient("ann"), text("not for joe"))
		time.Sleep(4 * time.Second)
		if got, want := strings.TrimPrefix(r.text(), greeted), "id: "+pos.String()+"\n\n"; got != want {
			t.Errorf("heartbeat is %q, want %q", got, want)
		}
		time.Sleep(5 * time.Minute)
		p := r.parsed()
		if n := strings.Count(r.text(), "id: "); n < 17 || n > 22 {
			t.Errorf("%d heartbeats in 5 minutes", n)
		}
		if len(p.events) != 0 {
			t.Errorf("a page sees %+v", p.events)
		}
		if p.lastID != pos.String() {
			t.Errorf("the cursor is %q, want %v", p.lastID, pos)
		}
	})
}

// Only when nothing else was written.
func TestNoHeartbeatOnABusyConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe")
		synctest.Wait()
		greeted := r.text()
		want := ""
		for range 20 {
			time.Sleep(10 * time.Second)
			pos := publish(t, b, broker.Everyone(), text("x"))
			want += "id: " + pos.String() + "\ndata: x\n\n"
		}
		synctest.Wait()
		if got := strings.TrimPrefix(r.text(), greeted); got != want {
			t.Errorf("stream %q", got)
		}
	})
}

// Who gets much without an id (direct, ephemeral) gets the position all the same.
func TestHeartbeatAmongEventsWithoutID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe")
		var pos broker.Position
		for range 20 {
			time.Sleep(5 * time.Second)
			must(t, r.conn.Send(text("direct")))
			pos = publish(t, b, broker.ToClient("ann"), text("not for joe"))
			synctest.Wait()
		}
		got, err := broker.ParsePosition(r.lastID())
		must(t, err)
		if got.Seq+5 < pos.Seq {
			t.Errorf("the cursor is at %v, the log at %v", got, pos)
		}
	})
}

// A connection's own interval, in its own time: also when it is shorter than the
// broker's.
func TestHeartbeatIntervalOfAConnection(t *testing.T) {
	for _, interval := range []time.Duration{100 * time.Millisecond, 5 * time.Second, time.Minute} {
		t.Run(interval.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := start(t)
				req, _ := request(t)
				k := newSink()
				conn, err := b.ConnectWithHeartBeatInterval("joe", k, req, interval)
				must(t, err)
				r := &reader{sink: k, t: t, conn: conn, done: conn.Done()}
				synctest.Wait()
				greeted := r.text()
				time.Sleep(interval * 5 / 4)
				if r.text() == greeted {
					t.Error("the first heartbeat is late")
				}
				time.Sleep(interval * 35 / 4)
				if n := strings.Count(strings.TrimPrefix(r.text(), greeted), "\n\n"); n < 7 || n > 10 {
					t.Errorf("%d heartbeats in 10 intervals", n)
				}
			})
		})
	}
}

func TestHeartbeatIntervalOfZeroIsTheDefault(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithHeartbeat(2*time.Second))
		for _, interval := range []time.Duration{0, -1, -time.Hour} {
			req, _ := request(t)
			k := newSink()
			conn, err := b.ConnectWithHeartBeatInterval("joe", k, req, interval)
			must(t, err)
			synctest.Wait()
			greeted := k.text()
			time.Sleep(3 * time.Second)
			if n := strings.Count(strings.TrimPrefix(k.text(), greeted), "\n\n"); n != 1 {
				t.Errorf("interval %v: %d heartbeats in 3 seconds", interval, n)
			}
			conn.Close("")
		}
	})
}

// Who is behind gets a comment: no id beyond what was written to it.
func TestHeartbeatOfASessionThatIsBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := start(t, broker.WithBackplane(wire), broker.WithWindow(1<<10), broker.WithLease(time.Hour))
		old := publish(t, b, broker.Everyone(), text("old"))
		for i := range 50 {
			publish(t, b, broker.Everyone(), text(fmt.Sprint(i)))
		}
		synctest.Wait()
		wire.cutOff() // so that the scan can not read
		r := connectFrom(t, b, "joe", old.String())
		time.Sleep(time.Minute)
		p := r.parsed()
		if len(p.comments) < 3 || p.lastID != "" || len(p.events) != 0 {
			t.Errorf("stream %q", r.text())
		}
		wire.heal()
		time.Sleep(5 * time.Second)
		if n := len(r.data()); n != 50 {
			t.Errorf("%d events", n)
		}
	})
}

// A reader that stalls without an event in sight is noticed by its heartbeats.
func TestHeartbeatFindsADeadReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithWriteDeadline(20*time.Second))
		r := connect(t, b, "joe")
		synctest.Wait()
		r.stall()
		begun := time.Now()
		r.wait()
		if took := time.Since(begun); took > 40*time.Second {
			t.Errorf("took %v", took)
		}
		mustBe(t, r.conn.Err(), broker.ErrSlowSession)
		if b.IsClientPresent("joe") {
			synctest.Wait()
		}
		if b.IsClientPresent("joe") {
			t.Error("is present")
		}
		if r.code() != http.StatusOK {
			t.Errorf("status %d", r.code())
		}
	})
}
