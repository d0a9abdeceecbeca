package broker_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

// wantsReset fails the test unless a reset for that reason is all that was received
// first, and then the data.
func (r *reader) wantsReset(reason broker.ResetReason, data ...string) {
	r.t.Helper()
	synctest.Wait()
	e := r.events()
	if len(e) == 0 || e[0].Event != "reset" || e[0].Data != fmt.Sprintf(`{"reason":%q}`, reason) {
		r.t.Fatalf("no reset for %q in %q", reason, r.text())
	}
	if _, err := broker.ParsePosition(e[0].ID); err != nil {
		r.t.Errorf("the id of the reset: %v", err)
	}
	for i, m := range e[1:] {
		if i >= len(data) || m.Data != data[i] {
			r.t.Errorf("after the reset: event %d is %q, want %q", i, m.Data, data)
		}
	}
	if len(e)-1 < len(data) {
		r.t.Errorf("after the reset: %d events, want %q", len(e)-1, data)
	}
}

func TestResume(t *testing.T) {
	for name, how := range map[string]func(string) func(*http.Request){"header": lastEventID, "parameter": lastEventIDParam} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				nodes, bus := cluster(t, 2)
				r := connect(t, nodes[0], "joe", broker.FollowTopics("room"))
				must(t, nodes[0].Broadcast(text("1")))
				r.wants("1")
				last := r.lastID()
				r.leave()
				must(t, nodes[0].Broadcast(text("2")))
				publish(t, nodes[1], broker.Topics("room"), text("3"))
				must(t, nodes[1].Send("joe", text("4")))

				wire := newUnreliable(bus)
				c := start(t, broker.WithBackplane(wire))
				k := newSink()
				r = serve(t, k, k, func(w http.ResponseWriter, r *http.Request) error {
					return c.Serve(w, r, broker.Client{ID: "joe", Topics: []string{"room"}})
				}, how(last))
				r.wants("2", "3", "4")
				if strings.Contains(r.text(), "retry:") || !strings.HasPrefix(r.text(), "id: ") {
					t.Errorf("who resumes gets only what it missed; got %q", r.text())
				}
				if n := wire.count("Read"); n != 0 {
					t.Errorf("the log was read %d times", n)
				}
			})
		})
	}
}

// The header wins: a browser sets it when it reconnects to an address that has the
// parameter in it.
func TestHeaderWinsOverParameter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		p1 := publish(t, b, broker.Everyone(), text("1"))
		p2 := publish(t, b, broker.Everyone(), text("2"))
		publish(t, b, broker.Everyone(), text("3"))
		r, _ := request(t, lastEventIDParam(p1.String()), lastEventID(p2.String()))
		k := newSink()
		conn, err := b.Connect("joe", k, r)
		must(t, err)
		(&reader{sink: k, t: t}).wants("3")
		if conn.LastEventID() != p2.String() {
			t.Errorf("LastEventID is %q", conn.LastEventID())
		}
	})
}

// A Last-Event-ID that nobody here has written is a reset, never an error to the
// browser, never a read of the bus.
func TestMalformedLastEventID(t *testing.T) {
	for _, id := range []string{
		"0", "17", "nonsense", "~", "~.", "~x", "~abc.", "~abc.-1", "~abc.1.", "~abc.0001", "~ABC.1", "~abc.zzzzzzzzzzzzzzzz",
		"1718000000000-0", "🚀", "\xff\xfe", strings.Repeat("i", 100_000), "~" + strings.Repeat("a", 17) + ".1", "' OR 1=1 --",
	} {
		t.Run(fmt.Sprintf("%.20q", id), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				wire := newUnreliable(newBus())
				b := start(t, broker.WithBackplane(wire))
				must(t, b.Broadcast(text("before")))
				synctest.Wait()
				reads, bounds := wire.count("Read"), wire.count("Bounds")
				r := connectFrom(t, b, "joe", id)
				if r.conn.LastEventID() != id {
					t.Errorf("LastEventID is %.80q", r.conn.LastEventID())
				}
				synctest.Wait()
				must(t, b.Broadcast(text("after")))
				r.wantsReset(broker.ResetPosition, "after")
				if r.code() != http.StatusOK {
					t.Errorf("status %d", r.code())
				}
				if wire.count("Read") != reads || wire.count("Bounds") != bounds {
					t.Error("the bus was asked")
				}
				connectFrom(t, b, "joe", r.events()[0].ID).wants("after") // the reset's position is one
			})
		})
	}
}

// A parameter that can not be decoded is one that nobody here has written: it is not
// left out, which would be a gap without a word.
func TestUndecodableLastEventID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		pos := publish(t, b, broker.Everyone(), text("before"))
		synctest.Wait()
		for query, want := range map[string]string{
			"lastEventId=%zz": "%zz", "a=%&lastEventId=5;6": "5;6", "lastEventId=100%": "100%", "lastEventId=%ff+%0d%0a": "\xff \r\n",
			"last%45ventId=%7E": "~", "lastEventId=1&lastEventId=" + pos.String(): "1",
		} {
			r, _ := request(t, func(r *http.Request) { r.URL.RawQuery = query })
			k := newSink()
			conn, err := b.Connect("joe", k, r)
			must(t, err)
			if conn.LastEventID() != want {
				t.Errorf("%s: LastEventID is %q", query, conn.LastEventID())
			}
			(&reader{sink: k, t: t}).wantsReset(broker.ResetPosition)
		}
		for _, query := range []string{"", "lastEventId", "lastEventId=", "xlastEventId=5", "%zz=5"} {
			r, _ := request(t, func(r *http.Request) { r.URL.RawQuery = query })
			k := newSink()
			_, err := b.Connect("joe", k, r)
			must(t, err)
			(&reader{sink: k, t: t}).wants()
		}
	})
}

// A position of another namespace, or of a log that is gone, is a reset too; one
// question to the bus tells, for all of them, and the log is not searched.
func TestForeignLastEventID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := start(t, broker.WithBackplane(wire))
		must(t, b.Broadcast(text("before")))
		synctest.Wait()
		other := start(t)
		foreign := publish(t, other, broker.Everyone(), text("elsewhere"))
		var readers []*reader
		for _, id := range []string{foreign.String(), "~abc.1", "~abc.0", "~zzzzzzzzzzzzzzzz.3w5e11264sgsf"} {
			readers = append(readers, connectFrom(t, b, "joe", id))
		}
		synctest.Wait()
		must(t, b.Broadcast(text("after")))
		for _, r := range readers {
			r.wantsReset(broker.ResetHistory, "after")
		}
		if n := wire.count("Read"); n != 0 {
			t.Errorf("the log was read %d times", n)
		}
	})
}

// A position of this log that is ahead of its end names what was never there.
func TestLastEventIDAheadOfTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		pos := publish(t, b, broker.Everyone(), text("last"))
		synctest.Wait()
		pos.Seq += 1000
		r := connectFrom(t, b, "joe", pos.String())
		r.wantsReset(broker.ResetHistory)
		must(t, b.Broadcast(text("after")))
		r.wantsReset(broker.ResetHistory, "after")
	})
}

// A client comes from a faster node: it waits for this one, and gets no event twice.
func TestLastEventIDAheadOfTheNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, bus := cluster(t, 0)
		wire := newUnreliable(bus)
		fast, slow := start(t, broker.WithBackplane(bus)), start(t, broker.WithBackplane(wire), broker.WithLease(time.Hour))
		wire.cutOff()
		synctest.Wait()
		must(t, fast.Broadcast(text("1")))
		pos := publish(t, fast, broker.Everyone(), text("2"))
		must(t, fast.Broadcast(text("3")))
		r := connectFrom(t, slow, "joe", pos.String())
		r.wants()
		time.Sleep(20 * time.Second)
		r.wants()
		if n := len(r.parsed().comments); n == 0 {
			t.Error("no heartbeat while it waits")
		}
		if r.lastID() != "" {
			t.Errorf("it was given the id %q", r.lastID())
		}
		wire.heal()
		r.wants("3")
	})
}

// A bus that does not answer judges nobody: the session waits.
func TestForeignLastEventIDWithoutABus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := start(t, broker.WithBackplane(wire), broker.WithLease(time.Hour))
		wire.cutOff()
		r := connectFrom(t, b, "joe", "~abc.1")
		time.Sleep(time.Minute)
		r.wants()
		wire.heal()
		time.Sleep(2 * time.Second)
		r.wantsReset(broker.ResetHistory)
	})
}

func TestRetentionHasPassed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, bus := cluster(t, 0)
		b := start(t, broker.WithBackplane(bus), broker.WithWindow(1<<10))
		old := publish(t, b, broker.Everyone(), text("1"))
		for i := range 50 {
			must(t, b.Broadcast(text(fmt.Sprint("more ", i))))
		}
		synctest.Wait() // the node has followed; only the client is behind
		bus.Tamper("default").Trim(1)
		r := connectFrom(t, b, "joe", old.String())
		time.Sleep(time.Second)
		r.wantsReset(broker.ResetRetention)
		must(t, b.Broadcast(text("after")))
		r.wantsReset(broker.ResetRetention, "after")
	})
}

// Retention by age and by bytes, as configured.
func TestRetentionOptions(t *testing.T) {
	for name, option := range map[string]broker.Option{
		"age": broker.WithRetention(10*time.Second, 1<<30), "bytes": broker.WithRetention(time.Hour, 2000),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := start(t, option, broker.WithWindow(1<<10))
				old := publish(t, b, broker.Everyone(), text("seen"))
				publish(t, b, broker.Everyone(), text("missed"))
				time.Sleep(11 * time.Second)
				var last broker.Position
				for i := range 30 {
					last = publish(t, b, broker.Everyone(), text(fmt.Sprint(i)))
					synctest.Wait() // the node itself keeps up
				}
				r := connectFrom(t, b, "joe", old.String())
				time.Sleep(time.Second)
				r.wantsReset(broker.ResetRetention)
				if s := b.Stats(); s.Resets != 1 {
					t.Errorf("%d resets", s.Resets)
				}
				connectFrom(t, b, "joe", last.String()).wants()
			})
		})
	}
}

// Who is older than the window is served from the bus, exactly.
func TestResumeFromBeforeTheWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := start(t, broker.WithBackplane(wire), broker.WithWindow(1<<10))
		var want []string
		var at [1000]string
		for i := range at {
			pos := publish(t, b, broker.Topics([]string{"even", "odd"}[i%2]), text(fmt.Sprint(i)))
			at[i] = pos.String()
			if i%2 == 0 && i > 0 {
				want = append(want, fmt.Sprint(i))
			}
		}
		synctest.Wait() // the node has followed all of it
		for _, from := range []int{0, 100, 500, 998} {
			r := connectFrom(t, b, "joe", at[from], broker.FollowTopics("even"))
			time.Sleep(5 * time.Second)
			r.wants(want[from/2:]...)
		}
		if wire.count("Read") == 0 {
			t.Error("the log was not read")
		}
		if s := b.Stats(); s.Scans == 0 || s.CatchingUp != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// The write was cut between an event with an author's id and the position that
// follows it: the browser comes back with the author's id.
func TestResumeFromAnAuthorsID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := start(t, broker.WithBackplane(wire))
		ev := func(id, data string) sse.StringEvent { return sse.StringEvent{Id: id, Data: data} }
		must(t, b.Broadcast(ev("m1", "1")))
		publish(t, b, broker.Topics("room"), ev("m2", "2"))
		must(t, b.Broadcast(ev("m3", "3")))
		must(t, b.Broadcast(text("4")))
		synctest.Wait()
		connectFrom(t, b, "joe", "m1").wants("3", "4")
		connectFrom(t, b, "joe", "m2", broker.FollowTopics("room")).wants("3", "4")
		connectFrom(t, b, "joe", "m3").wants("4")
		connectFrom(t, b, "joe", "m2").wantsReset(broker.ResetPosition) // not theirs
		connectFrom(t, b, "joe", "m4").wantsReset(broker.ResetPosition)
		must(t, b.Broadcast(ev("m1", "again")))
		synctest.Wait()
		connectFrom(t, b, "joe", "m1").wantsReset(broker.ResetPosition) // which of the two it was, nobody knows
		if wire.count("Read") != 0 {
			t.Error("the log was read")
		}
	})
}

// History that is gone is told to those who are connected, once each, within a couple
// of seconds, and nothing before it.
func TestLostHistoryIsTold(t *testing.T) {
	for name, lose := range map[string]func(*backplane.Tamper){
		"rolled back": func(b *backplane.Tamper) { b.Rollback(2) },
		"new epoch":   func(b *backplane.Tamper) { b.NewEpoch(1) },
		"all lost":    func(b *backplane.Tamper) { b.Lose() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				nodes, bus := cluster(t, 2)
				ra, rb := connect(t, nodes[0], "joe"), connect(t, nodes[1], "ann")
				for i := range 3 {
					must(t, nodes[i%2].Broadcast(text("lost")))
				}
				ra.wants("lost", "lost", "lost")
				lose(bus.Tamper("default"))
				time.Sleep(10 * time.Second)
				must(t, nodes[0].Broadcast(text("after")))
				time.Sleep(10 * time.Second)
				synctest.Wait()
				for _, r := range []*reader{ra, rb} {
					e := r.events()
					if len(e) != 5 || e[3].Event != "reset" || e[3].Data != `{"reason":"history"}` || e[4].Data != "after" {
						t.Errorf("received %+v", e)
					}
				}
				r := connectFrom(t, nodes[1], "joe", ra.lastID())
				must(t, nodes[1].Broadcast(text("more")))
				r.wants("more")
			})
		})
	}
}
