package broker_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

// foreign is an application's own Event type.
type foreign string

func (f foreign) Prepare() []byte  { return []byte(f) }
func (f foreign) GetId() string    { return "not used" }
func (f foreign) GetEvent() string { return "not used" }
func (f foreign) GetData() string  { return "not used" }

type panicking struct{ foreign }

func (panicking) Prepare() []byte { panic("in Prepare") }

func TestEventsArriveAsTheyAre(t *testing.T) {
	for name, test := range map[string]struct {
		event sse.Event
		want  sse.Message // without an ID: the position
	}{
		"text":           {text("a\nb\r\nc\rd"), sse.Message{Data: "a\nb\nc\nd"}},
		"empty":          {text(""), sse.Message{}},
		"spaces":         {text("  two"), sse.Message{Data: "  two"}},
		"typed":          {sse.StringEvent{Event: "t", Data: "x"}, sse.Message{Event: "t", Data: "x"}},
		"JSON":           {&sse.JsonEvent{Event: "j", Data: map[string]int{"n": 1}}, sse.Message{Event: "j", Data: `{"n":1}`}},
		"message":        {sse.Message{Event: "m", Data: "x", Retry: 3 * time.Second, Comment: "c"}, sse.Message{Event: "m", Data: "x", Retry: 3 * time.Second}},
		"own type":       {foreign("event: f\ndata: x\ndata: y\n\n"), sse.Message{Event: "f", Data: "x\ny"}},
		"own type, CR":   {foreign("event:f\rdata:x\r\r"), sse.Message{Event: "f", Data: "x"}},
		"reset's prefix": {sse.StringEvent{Event: "reset ", Data: "x"}, sse.Message{Event: "reset ", Data: "x"}},
		"no UTF-8":       {text("a\xffb"), sse.Message{Data: "a\uFFFDb"}},
		"own type, id":   {foreign("id: own\ndata: x\n\n"), sse.Message{ID: "own", Data: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				nodes, _ := cluster(t, 2)
				r := connect(t, nodes[1], "joe")
				synctest.Wait()
				greeted := r.text()
				pos := publish(t, nodes[0], broker.Everyone(), test.event)
				synctest.Wait()
				got := parse(t, strings.TrimPrefix(r.text(), greeted))
				if len(got.events) != 1 {
					t.Fatalf("received %q", r.text())
				}
				if test.want.ID == "" {
					test.want.ID = pos.String()
				}
				if m := got.events[0]; m != test.want {
					t.Errorf("received %+v, want %+v", m, test.want)
				}
				if got.lastID != pos.String() {
					t.Errorf("the browser comes back with %q, want %v", got.lastID, pos)
				}
			})
		})
	}
}

// A plain event has neither an event: line nor anything else that nobody asked for.
func TestBytesOfAPlainEvent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe")
		synctest.Wait()
		greeted := r.text()
		pos := publish(t, b, broker.Everyone(), text("x"))
		synctest.Wait()
		if got, want := strings.TrimPrefix(r.text(), greeted), "id: "+pos.String()+"\ndata: x\n\n"; got != want {
			t.Errorf("stream has %q, want %q", got, want)
		}
	})
}

func TestInvalidEvents(t *testing.T) {
	for name, event := range map[string]sse.Event{
		"nil":                   nil,
		"nil pointer":           (*sse.JsonEvent)(nil),
		"JSON of a channel":     &sse.JsonEvent{Data: make(chan int)},
		"line break in type":    sse.StringEvent{Event: "a\nb", Data: "x"},
		"CR in type":            sse.StringEvent{Event: "a\rdata: y", Data: "x"},
		"line break in id":      sse.StringEvent{Id: "a\nb", Data: "x"},
		"NUL in id":             sse.StringEvent{Id: "a\x00b", Data: "x"},
		"nothing at all":        sse.Message{},
		"negative retry":        sse.Message{Data: "x", Retry: -1},
		"two events in one":     foreign("data: x\n\ndata: y\n\n"),
		"stops inside an event": foreign("data: x\n"),
		"Prepare panics":        panicking{},
		"reset":                 sse.StringEvent{Event: "reset", Data: "{}"},
		"JSON reset":            &sse.JsonEvent{Event: "reset"},
		"own type, reset":       foreign("event: reset\ndata: x\n\n"),
		"id that is a position": sse.StringEvent{Id: "~abc.1", Data: "x"},
		"own type, position":    foreign("id: ~abc.1\ndata: x\n\n"),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := start(t)
				r := connect(t, b, "joe")
				_, published := b.Publish(t.Context(), broker.Everyone(), event)
				errs := map[string]error{
					"Publish": published, "Broadcast": b.Broadcast(event), "Send": b.Send("joe", event),
				}
				if !strings.Contains(name, "position") { // a connection's own Send leaves the id out
					errs["Send of connection"] = r.conn.Send(event)
				}
				for what, err := range errs {
					if err == nil {
						t.Errorf("%s: no error", what)
					}
					mustBe(t, err, broker.ErrInvalidEvent)
				}
				r.wants()
				if n := b.Stats().Published; n != 0 {
					t.Errorf("%d events were published", n)
				}
			})
		})
	}
}

func TestErrorOfJSONIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		var unsupported *json.UnsupportedTypeError
		if err := b.Broadcast(&sse.JsonEvent{Data: make(chan int)}); !errors.As(err, &unsupported) {
			t.Errorf("error %v does not tell what is wrong with the data", err)
		}
	})
}

func TestOversizedEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const limit = 1000
		b := start(t, broker.WithMaxEventSize(limit))
		r := connect(t, b, "joe")
		overhead := len("data: \n\n")
		fits := strings.Repeat("x", limit-overhead)
		must(t, b.Broadcast(text(fits)))
		must(t, r.conn.Send(text(fits)))
		for what, e := range map[string]sse.Event{
			"data": text(fits + "x"), "id": sse.StringEvent{Id: "i", Data: fits}, "type": sse.StringEvent{Event: "e", Data: fits},
			"lines": text(strings.Repeat("\n", 200)),
		} {
			_, err := b.Publish(t.Context(), broker.Everyone(), e)
			for _, err := range []error{err, b.Broadcast(e), b.Send("joe", e), r.conn.Send(e)} {
				if !errors.Is(err, broker.ErrEventTooLarge) {
					t.Errorf("%s: error is %v", what, err)
				}
			}
		}
		r.wants(fits, fits)
	})
}

func TestEventOfTheLargestSize(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithWindow(1<<20))
		r := connect(t, b, "joe")
		data := strings.Repeat("x", 1<<20-len("data: \n\n"))
		must(t, b.Broadcast(text("first")))
		must(t, b.Broadcast(text(data)))
		must(t, b.Broadcast(text("last")))
		time.Sleep(5 * time.Second) // it does not fit into the window: the bus is asked
		r.wants("first", data, "last")
		mustBe(t, b.Broadcast(text(data+"x")), broker.ErrEventTooLarge)
	})
}

// What an author calls an event is what the application sees, and what the browser
// comes back with is the position.
func TestAuthorsID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		r := connect(t, a, "joe")
		synctest.Wait()
		greeted := r.text()
		pos := publish(t, b, broker.Everyone(), sse.StringEvent{Id: " mine: 7", Event: "e", Data: "x"})
		synctest.Wait()
		want := "id:  mine: 7\nevent: e\ndata: x\n\nid: " + pos.String() + "\n\n"
		if got := strings.TrimPrefix(r.text(), greeted); got != want {
			t.Errorf("stream has %q, want %q", got, want)
		}
		if m := r.events()[0]; m.ID != " mine: 7" {
			t.Errorf("the application sees id %q", m.ID)
		}
		must(t, b.Broadcast(text("after")))
		connectFrom(t, b, "joe", pos.String()).wants("after")
	})
}

func TestIDsOfAuthorsThatAreNoPositions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe")
		ids := []string{"~", "~abc", "~ABC.1", "~abc.01", "~abc.1.0", "abc.1", "1", "🚀", strings.Repeat("i", 2000)}
		for _, id := range ids {
			must(t, b.Broadcast(sse.StringEvent{Id: id, Data: "x"}))
		}
		synctest.Wait()
		var got []string
		for _, m := range r.events() {
			got = append(got, m.ID)
		}
		if !slices.Equal(got, ids) {
			t.Errorf("ids %q, want %q", got, ids)
		}
	})
}

func TestResetEventCanBeNamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithResetEvent("start over"))
		r := connectFrom(t, b, "joe", "nonsense")
		must(t, b.Broadcast(sse.StringEvent{Event: "reset", Data: "the application's"}))
		mustBe(t, b.Broadcast(sse.StringEvent{Event: "start over"}), broker.ErrInvalidEvent)
		synctest.Wait()
		if e := r.events(); len(e) != 2 || e[0].Event != "start over" || e[1].Event != "reset" {
			t.Errorf("received %+v", e)
		}
	})
}

// A heartbeat is a comment to everybody, outside the promise.
func TestBroadcastOfAHeartbeat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		r := connect(t, nodes[1], "joe")
		synctest.Wait()
		before := r.parsed()
		must(t, nodes[0].Broadcast(sse.HeartbeatEvent{}))
		synctest.Wait()
		after := r.parsed()
		if len(after.comments) != 1 || len(after.events) != 0 || after.lastID != before.lastID {
			t.Errorf("stream %q", r.text())
		}
		connectFrom(t, nodes[0], "joe", before.lastID).wants()
	})
}

func TestEphemeral(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		r := connect(t, a, "joe", broker.FollowTopics("room"))
		synctest.Wait()
		at := r.lastID()
		publish(t, b, broker.Topics("room"), sse.StringEvent{Id: "mine", Event: "typing", Data: "1"}, broker.Ephemeral())
		must(t, b.Send("joe", text("2"), broker.Ephemeral()))
		must(t, b.Broadcast(text("3"), broker.Ephemeral()))
		r.wants("1", "2", "3")
		if strings.Contains(r.text(), "mine") || r.lastID() != at {
			t.Errorf("ephemeral events have ids: %q", r.text())
		}
		must(t, b.Broadcast(text("kept")))
		connectFrom(t, b, "joe", at, broker.FollowTopics("room")).wants("kept") // not replayed
		connectFrom(t, a, "joe", at, broker.FollowTopics("room")).wants("kept")
		r.wants("1", "2", "3", "kept")
	})
}

// An ephemeral event that a node hears of late is of no use any more.
func TestEphemeralGetsOld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, bus := cluster(t, 0)
		wire := newUnreliable(bus)
		a, b := start(t, broker.WithBackplane(bus)), start(t, broker.WithBackplane(wire), broker.WithLease(time.Minute))
		r := connect(t, b, "joe")
		wire.cutOff()
		synctest.Wait()
		must(t, a.Broadcast(text("old"), broker.Ephemeral()))
		must(t, a.Broadcast(text("kept")))
		time.Sleep(11 * time.Second)
		must(t, a.Broadcast(text("young"), broker.Ephemeral()))
		wire.heal()
		r.wants("kept", "young")
	})
}
