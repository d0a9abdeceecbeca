package broker

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/sse"
)

// A disconnect concerns the connections whose node position was taken before identify
// ran, and no later ones; nothing of control entries reaches a socket.
func TestRuleDisconnectConcernsWhoWasIdentifiedBefore(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		before := s.guest(a, "joe", "")
		identified := make(chan struct{})
		during := newTabSink(s.truth, "")
		during.diary = new(diary)
		var serving sync.WaitGroup
		serving.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			a.Handler(func(*http.Request) (Client, error) {
				close(identified)
				time.Sleep(time.Second)
				return Client{ID: "joe"}, nil
			}).ServeHTTP(during, r)
		})
		<-identified
		if err := b.Disconnect(t.Context(), "joe", "enough"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // a has heard of it: until then it would be kicked too
		after := s.guest(a, "joe", "")
		time.Sleep(2 * time.Second)
		if err := before.conn.Err(); !errors.Is(err, ErrDisconnected) {
			t.Errorf("who was there: %v", err)
		}
		serving.Wait() // it ended by itself
		before.wants("@")
		after.wants("@")
		if after.conn.Err() != nil {
			t.Errorf("who came after: %v", after.conn.Err())
		}
	})
}

// Who connects to a node that has heard of the disconnect stays.
func TestRuleDisconnectSparesWhoComesLater(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		if err := b.Disconnect(t.Context(), "joe", ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		g := s.guest(a, "joe", "")
		s.publish(b, Everyone(), "one")
		if err := b.Disconnect(t.Context(), "ann", ""); err != nil {
			t.Fatal(err)
		}
		s.publish(b, Everyone(), "two")
		g.wants("@", "one", "two")
	})
}

// Disconnects are kept in the register too: a node that finds the entry trimmed when it
// comes back reads them, and joins and leaves, before it delivers.
func TestRuleMissedControlsAreReadAgain(t *testing.T) {
	lose := map[string]func(s *stage){
		"trimmed":   func(s *stage) { s.truth.tamper.Trim(1) },
		"new epoch": func(s *stage) { s.truth.newEpoch(0) },
	}
	for name, lose := range lose {
		t.Run(name, func(t *testing.T) {
			onStage(t, nil, func(t *testing.T, s *stage) {
				a, b := s.node("a"), s.node("b")
				kicked := s.guest(a, "kicked", "")
				joins := s.guest(a, "joins", "")
				leaves := s.guest(a, "leaves", "", FollowTopics("old"))
				s.bus.Line("a").Freeze()
				synctest.Wait()
				ctx := t.Context()
				if err := errors.Join(b.Disconnect(ctx, "kicked", ""), b.Join(ctx, "joins", "new"), b.Leave(ctx, "leaves", "old")); err != nil {
					t.Fatal(err)
				}
				s.publish(b, Everyone(), "1", "2")
				lose(s)
				s.bus.Line("a").Heal()
				time.Sleep(5 * time.Second)
				s.publish(b, Topics("new", "old"), "3")
				if !errors.Is(kicked.conn.Err(), ErrDisconnected) {
					t.Errorf("the disconnect was lost: %v", kicked.conn.Err())
				}
				if got := joins.heard(); got[len(got)-1] != "3" {
					t.Errorf("the join was lost: %q", got)
				}
				if got := leaves.heard(); got[len(got)-1] == "3" {
					t.Errorf("the leave was lost: %q", got)
				}
			})
		})
	}
}

// An ephemeral event moves no cursor: it has no id, and is none.
func TestRuleEphemeralHasNoID(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a", WithHeartbeat(10*time.Second))
		pos := s.publish(a, Everyone(), "one")
		g := s.guest(a, "joe", pos.String())
		last, err := a.Publish(t.Context(), Everyone(), sse.StringEvent{Id: "mine", Data: "now"}, Ephemeral())
		if err != nil {
			t.Fatal(err)
		}
		g.wants("now")
		if g.sink.last() != pos.String() {
			t.Errorf("the cursor is %s", g.sink.last())
		}
		time.Sleep(11 * time.Second) // the heartbeat tells the position, the event has not
		if g.sink.last() != last.String() {
			t.Errorf("after a heartbeat the cursor is %s, not %v", g.sink.last(), last)
		}
		s.guest(a, "ann", pos.String()).wants() // not kept
	})
}

// `Join` writes the register, then the control entry; a session takes its position,
// then reads the register: whatever the moment at which it comes, it does not miss the join.
func TestRuleJoinIsNotMissedWhileConnecting(t *testing.T) {
	for _, delay := range []time.Duration{0, 5, 15, 25, 35, 45, 55, 65, 75} {
		t.Run(fmt.Sprint(delay), func(t *testing.T) {
			onStage(t, nil, func(t *testing.T, s *stage) {
				a, b := s.node("a"), s.node("b")
				s.guest(a, "joe", "")
				s.bus.Line("a").Delay(10*time.Millisecond, 10*time.Millisecond)
				s.bus.Line("b").Delay(7*time.Millisecond, 7*time.Millisecond)
				joined := make(chan error)
				go func() { joined <- a.Join(t.Context(), "joe", "room") }()
				time.Sleep(delay * time.Millisecond)
				g := s.guest(b, "joe", "")
				if err := <-joined; err != nil {
					t.Fatal(err)
				}
				s.publish(a, Topics("room"), "in the room")
				time.Sleep(time.Second)
				if got := g.heard(); got[len(got)-1] != "in the room" {
					t.Errorf("heard %q", got)
				}
			})
		})
	}
}

// The register is written before the entry: a node that connects a client after its
// position passed the entry finds the join in the register.
func TestRuleJoinWritesTheRegisterFirst(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.guest(a, "joe", "")
		s.bus.Line("a").Delay(50*time.Millisecond, 50*time.Millisecond)
		joined := make(chan error)
		go func() { joined <- a.Join(t.Context(), "joe", "room") }()
		for s.truth.ord() == 0 {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait() // b has read the entry; a has not heard that it was accepted
		g := s.guest(b, "joe", "")
		s.publish(b, Topics("room"), "in the room")
		g.wants("@", "in the room")
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
	})
}

// A session whose registration took longer than the second that its stream waits learns
// what the register knows as soon as it answers; what it has been passed by
// is announced with a reset.
func TestRuleLateFactsAreLearnt(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a", WithWindow(1<<10)), s.node("b")
		home := s.guest(b, "joe", "")
		if err := b.Join(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		from := s.publish(b, Everyone(), "1")
		s.publish(b, Topics("room"), "missed")
		s.publish(b, Everyone(), "2", "3", "4", "5", "6", "7", "8")
		s.bus.Line("a").Fail(backplanetest.Update, backplanetest.Before, 9) // some seconds
		g := s.guest(a, "joe", from.String())
		s.publish(b, Everyone(), "9")
		time.Sleep(10 * time.Second)
		s.publish(b, Topics("room"), "in the room")
		got := g.heard()
		if !slices.Contains(got, "in the room") {
			t.Errorf("heard %q", got)
		}
		if !slices.Contains(got, "missed") && !slices.ContainsFunc(got, func(x string) bool { return x == `reset {"reason":"history"}` }) {
			t.Errorf("a gap was not announced: %q", got)
		}
		_ = home
	})
}

// A node that others took for dead owes nothing any more: the callbacks that it had still to run
// are run by who collected them, once.
func TestRuleLapsedNodeOwesNothing(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		var mu sync.Mutex
		var calls []string
		hold := make(chan struct{})
		note := func(node string) func(string, string) {
			return func(client, _ string) {
				mu.Lock()
				calls = append(calls, client)
				mu.Unlock()
				if node == "a" && client == "slow" {
					<-hold
				}
			}
		}
		a.SetDisconnectCallback(note("a"))
		b.SetDisconnectCallback(note("b"))
		slow, next := s.guest(a, "slow", ""), s.guest(a, "next", "")
		time.Sleep(5 * time.Second)
		s.bus.Line("a").Fail(backplanetest.Settle, backplanetest.Before, 1000)
		for _, g := range []*guest{slow, next} { // the second waits for the first
			g.sink.leave()
			g.cancel()
			synctest.Wait()
		}
		s.bus.Line("a").Cut(backplanetest.Hang)
		time.Sleep(10 * time.Second) // b collects
		s.bus.Line("a").Calm()
		time.Sleep(5 * time.Second) // a hears of it
		close(hold)
		time.Sleep(5 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		count := 0
		for _, c := range calls {
			if c == "next" {
				count++
			}
		}
		if count != 1 {
			t.Errorf("the callback that had not begun ran %d times: %q", count, calls)
		}
	})
}

// A connection that is being made while its node is taken for dead is not left
// out of the register: it is told to come back.
func TestRuleLapseWhileConnecting(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.guest(a, "joe", "")
		time.Sleep(5 * time.Second)
		s.bus.Line("a").Fail(backplanetest.Update, backplanetest.Before, 1000)
		coming := make(chan *guest)
		go func() { coming <- s.comer(a, "ann", "") }()
		time.Sleep(100 * time.Millisecond)
		a.lapsed(a.roster.id()) // as when the register says so
		g := <-coming
		s.bus.Line("a").Calm()
		time.Sleep(10 * time.Second)
		if g.conn != nil && g.conn.Err() == nil {
			if sessions, err := b.Sessions(t.Context(), "ann"); err != nil || len(sessions) != 1 {
				t.Errorf("a connection that is in no register: %v, %v", sessions, err)
			}
		}
	})
}

// When the reply to a collection is lost, its debts are paid all the same, by a node that lives.
func TestRuleLostCollectionIsPaid(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		b, a := s.node("b"), s.node("a")
		paid := make(chan string, 10)
		b.SetDisconnectCallback(func(client, _ string) { paid <- client })
		s.guest(a, "joe", "")
		time.Sleep(5 * time.Second)
		s.bus.Line("a").Cut(backplanetest.Hang) // dead
		s.bus.Line("b").Fail(backplanetest.Collect, backplanetest.After, 3)
		time.Sleep(30 * time.Second)
		if len(paid) != 1 {
			t.Errorf("%d callbacks", len(paid))
		}
	})
}

// Registrations are written in batches, one under way at a time: 1,000 sessions that come at once
// are few round trips.
func TestRuleRegistrationsAreBatched(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a")
		s.bus.Line("a").Delay(time.Millisecond, time.Millisecond)
		s.counts.since("Update")
		var all sync.WaitGroup
		for i := range 1000 {
			all.Go(func() { s.comer(a, fmt.Sprint(i), "") })
		}
		all.Wait()
		if n := s.counts.since("Update"); n > 5 {
			t.Errorf("1000 sessions took %d round trips", n)
		}
	})
}

// A Send asks the register only where the node does not know better, and for many
// callers at once.
func TestRuleQuestionsAreJoined(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.guest(a, "here", "")
		s.guest(b, "there", "")
		s.counts.since("Presence")
		if err := a.Send("here", benchEvent); err != nil {
			t.Fatal(err)
		}
		if n := s.counts.since("Presence"); n != 0 {
			t.Errorf("asked %d times for a client of its own", n)
		}
		s.bus.Line("a").Delay(10*time.Millisecond, 10*time.Millisecond)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if err := a.Send("there", benchEvent); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := s.counts.since("Presence"); n > 2 {
			t.Errorf("50 callers took %d questions", n)
		}
		var unknown *UnknownClientError
		if err := a.Send("nowhere", benchEvent); !errors.As(err, &unknown) {
			t.Errorf("a client that is nowhere: %v", err)
		}
		s.bus.Line("a").Cut(backplanetest.Refuse)
		if err := a.Send("nowhere", benchEvent); errors.As(err, &unknown) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("a bus that does not answer: %v", err)
		}
	})
}

// The late disconnect of an old session does not remove a new one.
func TestRuleLateEndOfAnOldSession(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		old := s.guest(a, "joe", "")
		s.bus.Line("a").Cut(backplanetest.Hang)
		old.sink.leave()
		old.cancel()
		synctest.Wait()
		s.guest(b, "joe", "")
		s.bus.Line("a").Heal()
		time.Sleep(10 * time.Second)
		sessions, err := a.Sessions(t.Context(), "joe")
		if err != nil || len(sessions) != 1 || sessions[0].NodeName != "b" {
			t.Errorf("sessions %v, %v", sessions, err)
		}
	})
}

// What is known of a client outlives the register: nodes that have a session of it write
// it back.
func TestRuleFactsAreWrittenBack(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		g := s.guest(a, "joe", "")
		ctx := t.Context()
		if err := errors.Join(b.Join(ctx, "joe", "room"), b.SetClientMetadata("joe", ClientMetadata{"k": "v"})); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.truth.loseAll()
		time.Sleep(20 * time.Second)
		if m, err := b.GetClientMetadata("joe"); err != nil || m["k"] != "v" {
			t.Errorf("metadata %v, %v", m, err)
		}
		if !b.IsClientPresent("joe") {
			t.Error("joe is not present any more")
		}
		s.publish(b, Topics("room"), "still there")
		if got := g.heard(); got[len(got)-1] != "still there" {
			t.Errorf("heard %q", got)
		}
		s.guest(b, "joe", "")
		if s.publish(b, Topics("room"), "x"); g.heard() == nil {
			t.Error("nothing was heard")
		}
	})
}

// No node sweeps before it has itself been in touch with the bus for a full lease.
func TestRuleNoSweepAfterAnOutage(t *testing.T) {
	for _, outage := range []time.Duration{
		time.Minute,
		// So short that a call which has waited for its end succeeds, and long enough for leases to lapse.
		2900 * time.Millisecond, 2500 * time.Millisecond, 2100 * time.Millisecond,
	} {
		for phase := time.Duration(0); phase < time.Second; phase += 100 * time.Millisecond {
			t.Run(fmt.Sprint(outage, " after ", phase), func(t *testing.T) { testNoSweepAfterAnOutage(t, outage, phase) })
		}
	}
}

func testNoSweepAfterAnOutage(t *testing.T, outage, phase time.Duration) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		var mu sync.Mutex
		calls := 0
		for _, n := range []*Broker{a, b} {
			n.SetDisconnectCallback(func(string, string) { mu.Lock(); calls++; mu.Unlock() })
		}
		s.guest(a, "1", "")
		s.guest(b, "2", "")
		time.Sleep(10*time.Second + phase)
		s.bus.Cut(backplanetest.Hang)
		time.Sleep(outage)
		s.bus.Line("a").Heal()
		time.Sleep(time.Second) // and b a little later, within a lease
		s.bus.Line("b").Heal()
		time.Sleep(20 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if calls != 0 {
			t.Errorf("an outage of the bus cost %d sessions", calls)
		}
	})
}
