package broker_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
)

// Each occasion is one call, in the whole cluster.
func TestHooks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newBus()
		j := new(journal)
		var nodes []*broker.Broker
		for _, name := range []string{"a", "b", "c"} {
			b := start(t, broker.WithBackplane(bus), broker.WithHooks(j.hooks(name)), broker.WithResumeGrace(time.Minute))
			b.SetDisconnectCallback(func(client, _ string) { j.note("%s: %s disconnected", name, client) })
			nodes = append(nodes, b)
		}
		one := connect(t, nodes[0], "joe")
		synctest.Wait()
		two := connect(t, nodes[1], "joe")
		synctest.Wait()
		want := []string{"a: client joe joined", "a: session of joe joined", "b: session of joe joined"}
		j.wants(t, want...)
		one.leave()
		synctest.Wait()
		want = append(want, "a: session of joe left", "a: joe disconnected")
		j.wants(t, want...)
		two.leave()
		time.Sleep(50 * time.Second) // within the grace
		three := connect(t, nodes[2], "joe")
		synctest.Wait()
		want = append(want, "b: session of joe left", "b: joe disconnected", "c: session of joe joined")
		j.wants(t, want...)
		time.Sleep(2 * time.Minute)
		three.leave()
		time.Sleep(2 * time.Minute)
		want = append(want, "c: session of joe left", "c: joe disconnected")
		var left []string
		for _, line := range j.all() {
			if line[1:] == ": client joe left" {
				left = append(left, line)
			}
		}
		if len(left) != 1 {
			t.Fatalf("the client left %d times, in %q", len(left), j.all())
		}
		want = append(want, left...)
		j.wants(t, want...)
		connect(t, nodes[1], "joe") // and joins anew
		synctest.Wait()
		j.wants(t, append(want, "b: session of joe joined", "b: client joe joined")...)
	})
}

// A client that leaves and comes back within the grace has neither left nor joined.
func TestClientLeftComesAfterTheGrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := new(journal)
		b := start(t, broker.WithResumeGrace(30*time.Second), broker.WithLease(3*time.Second),
			broker.WithHooks(broker.Hooks{ClientLeft: func(client string) { j.note("%s", client) }}))
		r := connect(t, b, "joe")
		time.Sleep(10 * time.Second)
		r.leave()
		time.Sleep(29 * time.Second)
		j.wants(t)
		time.Sleep(3 * time.Second)
		j.wants(t, "joe")
	})
}

// A hook that panics is logged, and neither the broker nor the other hooks suffer.
func TestHooksThatPanic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		book, j := new(logbook), new(journal)
		b := start(t, broker.WithLogger(book.logger()), broker.WithResumeGrace(time.Second), broker.WithLease(time.Second), broker.WithHooks(broker.Hooks{
			SessionJoined: func(_, _ string) { panic("one") },
			SessionLeft:   func(_, _ string) { panic(fmt.Errorf("two")) },
			ClientJoined:  func(string) { panic("three") },
			ClientLeft:    func(client string) { j.note("left"); panic("four") },
		}))
		b.SetDisconnectCallback(func(client, _ string) { j.note("%s", client); panic("five") })
		for range 2 {
			r := connect(t, b, "joe")
			must(t, b.Broadcast(text("x")))
			r.wants("x")
			r.leave()
			time.Sleep(5 * time.Second)
		}
		j.wants(t, "joe", "joe", "left", "left") // a panic does not bring the call back
		for _, s := range []string{"one", "two", "three", "four", "five", "SessionJoined", "disconnect callback"} {
			if !book.contains(s) {
				t.Errorf("the log does not say %q", s)
			}
		}
	})
}

// Hooks may call everything.
func TestHooksThatCallTheBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var b *broker.Broker
		j := new(journal)
		all := func(who, client string) {
			ctx := t.Context()
			must(t, b.Broadcast(text(who)))
			_ = b.Send(client, text("x"))
			_ = b.Join(ctx, client, "room")
			_ = b.Leave(ctx, client, "room")
			_ = b.SetClientMetadata(client, broker.ClientMetadata{"by": who})
			_, _ = b.GetClientMetadata(client)
			_, _ = b.Sessions(ctx, client)
			_, _ = b.Position(ctx)
			for range b.Clients(ctx) {
			}
			_ = b.IsClientPresent(client)
			_, _, _ = b.Ready(), b.Healthy(), b.Stats()
			r, cancel := request(t)
			if conn, err := b.Connect("from a hook", newSink(), r); err == nil {
				must(t, conn.Send(text("x")))
				conn.Close("")
				<-conn.Done()
			}
			cancel()
			b.SetDisconnectCallback(func(client, _ string) { j.note("new callback for %s", client) })
			j.note("%s of %s", who, client)
		}
		only := func(who string) func(string) {
			return func(client string) {
				if client == "joe" {
					all(who, client)
				}
			}
		}
		b = start(t, broker.WithResumeGrace(time.Second), broker.WithLease(time.Second), broker.WithHooks(broker.Hooks{
			SessionJoined: func(client, _ string) { only("SessionJoined")(client) },
			SessionLeft:   func(client, _ string) { only("SessionLeft")(client) },
			ClientJoined:  only("ClientJoined"),
			ClientLeft:    only("ClientLeft"),
		}))
		watcher := connect(t, b, "watcher")
		r := connect(t, b, "joe")
		synctest.Wait()
		r.leave()
		time.Sleep(5 * time.Second)
		watcher.wants("SessionJoined", "ClientJoined", "SessionLeft", "ClientLeft")
		for _, line := range []string{"SessionJoined of joe", "ClientJoined of joe", "SessionLeft of joe", "ClientLeft of joe", "new callback for joe"} {
			found := false
			for _, l := range j.all() {
				found = found || l == line
			}
			if !found {
				t.Errorf("no %q in %q", line, j.all())
			}
		}
	})
}

// A hook that takes its time holds up no event and no connection.
func TestHookThatIsSlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithHooks(broker.Hooks{SessionJoined: func(_, _ string) { time.Sleep(500 * time.Millisecond) }}))
		connect(t, b, "joe")
		begun := time.Now()
		r := connect(t, b, "ann")
		must(t, b.Broadcast(text("x")))
		r.wants("x")
		if took := time.Since(begun); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// In the callback of its last session a client is not present any more.
func TestPresenceInTheDisconnectCallback(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		j := new(journal)
		nodes[0].SetDisconnectCallback(func(client, _ string) {
			j.note("%t %t", nodes[0].IsClientPresent(client), nodes[1].IsClientPresent(client))
		})
		connect(t, nodes[0], "joe").leave()
		synctest.Wait()
		j.wants(t, "false false")
	})
}

// A callback that is set later is the one that is called; none is fine too.
func TestDisconnectCallbackIsReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		j := new(journal)
		for i := range 4 {
			if i%2 == 0 {
				b.SetDisconnectCallback(nil)
			} else {
				b.SetDisconnectCallback(func(client, _ string) { j.note("%d %s", i, client) })
			}
			connect(t, b, "joe").leave()
			synctest.Wait()
		}
		j.wants(t, "1 joe", "3 joe")
	})
}
