package broker_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/broker"
)

func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		var gone []string
		a.SetDisconnectCallback(func(client, _ string) { gone = append(gone, client) })
		joe, ann := connect(t, a, "joe"), connect(t, b, "ann")
		must(t, a.Broadcast(text("last words")))
		synctest.Wait()
		begun := time.Now()
		must(t, a.Close())
		if took := time.Since(begun); took > time.Second {
			t.Errorf("took %v", took)
		}
		if !joe.ended() || len(gone) != 1 {
			t.Errorf("session has ended: %t; callbacks: %q", joe.ended(), gone)
		}
		mustBe(t, joe.conn.Err(), broker.ErrDraining)
		joe.wants("last words")
		if !strings.Contains(joe.text(), "\nretry: ") || b.IsClientPresent("joe") {
			t.Errorf("stream %q", joe.text())
		}
		must(t, b.Broadcast(text("more")))
		ann.wants("last words", "more")
		connectFrom(t, b, "joe", joe.lastID()).wants("more")
	})
}

// After Close every call says so, and none of them waits.
func TestCallsAfterClose(t *testing.T) {
	for name, before := range map[string]func(*testing.T, *broker.Broker){
		"started":  func(t *testing.T, b *broker.Broker) { must(t, b.Start(t.Context())) },
		"unused":   func(*testing.T, *broker.Broker) {},
		"starting": func(_ *testing.T, b *broker.Broker) { _ = b.Ready() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := broker.NewBroker(nil)
				before(t, b)
				must(t, b.Close())
				begun := time.Now()
				ctx := t.Context()
				_, publishErr := b.Publish(ctx, broker.Everyone(), text("x"))
				_, sendErr := b.SendContext(ctx, "joe", text("x"))
				_, metadataErr := b.GetClientMetadata("joe")
				_, sessionsErr := b.Sessions(ctx, "joe")
				_, positionErr := b.Position(ctx)
				var clientsErr, membersErr, allErr error
				for _, clientsErr = range b.Clients(ctx) {
				}
				for _, membersErr = range b.Members(ctx, "room") {
				}
				for _, allErr = range b.AllSessions(ctx) {
				}
				for what, err := range map[string]error{
					"Publish": publishErr, "SendContext": sendErr, "GetClientMetadata": metadataErr, "Sessions": sessionsErr,
					"Position": positionErr, "Clients": clientsErr, "Members": membersErr, "AllSessions": allErr,
					"Broadcast": b.Broadcast(text("x")), "Send": b.Send("joe", text("x")),
					"Join": b.Join(ctx, "joe", "room"), "Leave": b.Leave(ctx, "joe", "room"), "Disconnect": b.Disconnect(ctx, "joe", ""),
					"SetClientMetadata": b.SetClientMetadata("joe", nil), "Ready": b.Ready(), "Healthy": b.Healthy(),
				} {
					if !errors.Is(err, broker.ErrClosed) {
						t.Errorf("%s: %v", what, err)
					}
				}
				for range 20 { // whichever way a select goes
					mustBe(t, b.Start(ctx), broker.ErrClosed)
				}
				if b.IsClientPresent("joe") {
					t.Error("somebody is present")
				}
				k := newSink()
				r, _ := request(t)
				conn, err := b.Connect("joe", k, r)
				mustBe(t, err, broker.ErrClosed)
				if conn != nil {
					t.Error("a connection")
				}
				isComeBack(t, k)
				b.SetDisconnectCallback(nil)
				_ = b.Stats()
				must(t, b.Close())
				must(t, b.Shutdown(ctx))
				if took := time.Since(begun); took != 0 {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// isComeBack checks that a request was answered with 200, retry: and a close.
func isComeBack(t *testing.T, k *sink) {
	t.Helper()
	p := parse(t, k.written())
	if k.code() != http.StatusOK || p.retry == 0 || len(p.events) != 0 || p.lastID != "" {
		t.Errorf("answered %d %q", k.code(), k.written())
	}
	if got := k.Header().Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type is %q", got)
	}
	if got := k.Header().Get("Connection"); got != "close" {
		t.Errorf("Connection is %q", got)
	}
}

func TestCloseTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe")
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { must(t, b.Close()) })
		}
		wg.Wait()
		must(t, b.Close())
		if !r.ended() {
			t.Error("the session goes on")
		}
	})
}

// Close from a callback returns after a second, and the end comes when the callback
// has returned.
func TestCloseFromAHook(t *testing.T) {
	for _, which := range []string{"disconnect callback", "SessionLeft", "SessionJoined", "ClientJoined"} {
		t.Run(which, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var b *broker.Broker
				closed := make(chan time.Duration, 10)
				hook := func(name string) func() {
					return func() {
						if name == which {
							begun := time.Now()
							must(t, b.Close())
							closed <- time.Since(begun)
						}
					}
				}
				b = start(t, broker.WithHooks(broker.Hooks{
					SessionLeft:   func(_, _ string) { hook("SessionLeft")() },
					SessionJoined: func(_, _ string) { hook("SessionJoined")() },
					ClientJoined:  func(string) { hook("ClientJoined")() },
				}))
				b.SetDisconnectCallback(func(_, _ string) { hook("disconnect callback")() })
				req, cancel := request(t)
				conn, err := b.Connect("joe", newSink(), req)
				if which == "disconnect callback" || which == "SessionLeft" {
					cancel()
				}
				if took := <-closed; took > 3*time.Second {
					t.Errorf("Close took %v", took)
				}
				if err == nil {
					<-conn.Done()
				} else {
					mustBe(t, err, broker.ErrDraining) // the hook was faster
				}
				begun := time.Now()
				must(t, b.Close()) // waits for the rest
				if took := time.Since(begun); took > time.Second {
					t.Errorf("the second Close took %v", took)
				}
				mustBe(t, b.Broadcast(text("x")), broker.ErrClosed)
			})
		})
	}
}

// A callback that hangs does not hold up Close for longer than its 5 seconds.
func TestCloseWithACallbackThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := broker.NewBroker(nil)
		release := make(chan struct{})
		b.SetDisconnectCallback(func(_, _ string) { <-release })
		connect2(t, b, "joe").leave()
		begun := time.Now()
		_ = b.Close()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		close(release)
	})
}

// connect2 is connect to a broker that may not have been started.
func connect2(t testing.TB, b *broker.Broker, client string) *reader {
	t.Helper()
	must(t, b.Start(t.Context()))
	return connect(t, b, client)
}

// What was accepted before Close is published, what comes after is refused, and what
// happens meanwhile is one or the other.
func TestCloseDuringPublish(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		r := connect(t, nodes[1], "joe")
		r.wants()
		var wg sync.WaitGroup
		var mu sync.Mutex
		accepted := 0
		for range 50 {
			wg.Go(func() {
				for range 20 {
					if err := nodes[0].Broadcast(text("x")); err == nil {
						mu.Lock()
						accepted++
						mu.Unlock()
					} else if !errors.Is(err, broker.ErrClosed) {
						t.Errorf("error is %v", err)
					}
				}
			})
		}
		wg.Go(func() { must(t, nodes[0].Close()) })
		wg.Wait()
		if n := len(r.data()); n != accepted {
			t.Errorf("%d received, %d accepted", n, accepted)
		}
	})
}

// Without a bus Close gives up what it can not do, in time.
func TestCloseWithoutABus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := broker.NewBroker(nil, broker.WithBackplane(wire))
		r := connect2(t, b, "joe")
		wire.cutOff()
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := b.Broadcast(text("x")); err == nil {
				t.Error("published without a bus")
			}
		})
		synctest.Wait()
		begun := time.Now()
		_ = b.Close()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		r.wait()
		wg.Wait()
	})
}

// The broker is closed before it has ever reached the bus.
func TestCloseBeforeTheBusIsReached(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		wire.cutOff()
		b := broker.NewBroker(nil, broker.WithBackplane(wire))
		waiting := make(chan error, 1)
		go func() { waiting <- b.Start(t.Context()) }()
		time.Sleep(time.Minute)
		must(t, b.Close())
		mustBe(t, <-waiting, broker.ErrClosed)
	})
}

// A Close during a Shutdown ends it at once.
func TestCloseDuringShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		for range 1000 {
			connect(t, b, "joe")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		shutdown := make(chan error, 1)
		go func() { shutdown <- b.Shutdown(ctx) }()
		time.Sleep(time.Second)
		if n := b.Stats().Sessions; n == 0 {
			t.Fatal("all are gone after a second of an hour")
		}
		begun := time.Now()
		must(t, b.Close())
		if took := time.Since(begun); took > time.Second {
			t.Errorf("Close took %v", took)
		}
		must(t, <-shutdown)
	})
}

// A session whose client does not read does not hold up Close for longer than 5 seconds.
func TestCloseWithAReaderThatStopsReading(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := broker.NewBroker(nil)
		r := connect2(t, b, "joe")
		synctest.Wait()
		r.stall()
		begun := time.Now()
		_ = b.Close()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		r.wait()
	})
}

// Closing a log that several brokers share closes one of them.
func TestCloseLeavesTheBusToOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, bus := cluster(t, 2)
		must(t, nodes[0].Close())
		r := connect(t, nodes[1], "joe")
		must(t, nodes[1].Broadcast(text("x")))
		r.wants("x")
		again := start(t, broker.WithBackplane(bus))
		must(t, again.Broadcast(text("y")))
		r.wants("x", "y")
	})
}

// When Close returns the callbacks have run, also on a bus that takes its time, and
// nothing is left for others.
func TestCloseOnASlowBus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		faults := backplanetest.NewFaults(newBus(), 1)
		j := new(journal)
		a := broker.NewBroker(nil, broker.WithBackplane(faults.Line("a")))
		a.SetDisconnectCallback(func(client, _ string) { j.note("a: %s", client) })
		b := start(t, broker.WithBackplane(faults.Line("b")), broker.WithLease(5*time.Second))
		b.SetDisconnectCallback(func(client, _ string) { j.note("b: %s", client) })
		connect2(t, a, "joe")
		connect(t, a, "ann")
		synctest.Wait()
		faults.Line("a").Delay(100*time.Millisecond, 200*time.Millisecond)
		must(t, a.Close())
		j.wants(t, "a: ann", "a: joe")
		time.Sleep(time.Minute)
		j.wants(t, "a: ann", "a: joe")
	})
}
