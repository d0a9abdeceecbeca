package broker

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
)

// A repeated Join that reaches a node while the client is coming back to it does not
// change from where on the topic counts.
func TestRuleRepeatedJoinKeepsItsBeginning(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		home := s.guest(b, "joe", "")
		if err := b.Join(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		from := s.publish(b, Everyone(), "1")
		s.publish(b, Topics("room"), "missed")
		home.wants("@", "1", "missed")
		s.bus.Line("a").Delay(100*time.Millisecond, 100*time.Millisecond)
		coming := make(chan *guest)
		go func() { coming <- s.comer(a, "joe", from.String()) }()
		time.Sleep(150 * time.Millisecond) // the register has answered, and nobody has heard it yet
		synctest.Wait()
		if err := b.Join(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		(<-coming).wants("missed")
	})
}

// A Leave whose entry a node jumps over is applied, although the client had been left
// before, and the connection follows the topic by its own name: it is another Leave.
func TestRuleMissedLeaveIsNotTheOneBefore(t *testing.T) {
	lose := map[string]func(s *stage){
		"trimmed":   func(s *stage) { s.truth.tamper.Trim(1) },
		"new epoch": func(s *stage) { s.truth.newEpoch(0) },
	}
	for name, lose := range lose {
		t.Run(name, func(t *testing.T) {
			onStage(t, nil, func(t *testing.T, s *stage) {
				a, b := s.node("a"), s.node("b")
				s.guest(b, "joe", "")
				if err := b.Leave(t.Context(), "joe", "room"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				g := s.guest(a, "joe", "", FollowTopics("room"))
				s.publish(b, Topics("room"), "before")
				s.bus.Line("a").Freeze()
				synctest.Wait()
				if err := b.Leave(t.Context(), "joe", "room"); err != nil {
					t.Fatal(err)
				}
				s.publish(b, Everyone(), "1", "2")
				lose(s)
				s.bus.Line("a").Heal()
				time.Sleep(5 * time.Second)
				s.publish(b, Topics("room"), "after")
				got := g.heard()
				if !slices.Contains(got, "before") || slices.Contains(got, "after") {
					t.Errorf("heard %q", got)
				}
			})
		})
	}
}

// A session that names a topic and is opened after a Leave of it goes on following it, when
// its node, which was lagging, hears of the Leave.
func TestRuleLaggingNodeDoesNotUndoWhatIsNamed(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.guest(b, "joe", "")
		s.bus.Line("a").Freeze()
		synctest.Wait()
		if err := b.Leave(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		g := s.guest(a, "joe", "", FollowTopics("room"))
		s.bus.Line("a").Heal()
		time.Sleep(5 * time.Second)
		s.publish(b, Topics("room"), "in the room")
		g.wants("@", "in the room")
	})
}

// What lies in the log behind a connection's own Leave wins, also when the session knew
// of it before its node did.
func TestRuleJoinBehindOwnLeaveWins(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.guest(b, "joe", "")
		s.bus.Line("a").Freeze()
		synctest.Wait()
		if err := b.Join(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		g := s.guest(a, "joe", "")
		if err := g.conn.Leave("room"); err != nil {
			t.Fatal(err)
		}
		s.bus.Line("a").Heal()
		time.Sleep(5 * time.Second)
		s.publish(b, Topics("room"), "in the room")
		g.wants("@", "in the room")
	})
}

// A node that jumps to a place between a Join and its repetition makes the sessions
// follow the topic from there, and not from the repetition on.
func TestRuleJumpBetweenJoinAndItsRepetition(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		g := s.guest(a, "joe", "")
		s.bus.Line("a").Freeze()
		synctest.Wait()
		if err := b.Join(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		s.publish(b, Everyone(), "1", "2")
		s.publish(b, Topics("room"), "between")
		if err := b.Join(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		s.truth.tamper.Trim(3)
		s.bus.Line("a").Heal()
		time.Sleep(5 * time.Second)
		if got := g.heard(); !slices.Contains(got, "between") {
			t.Errorf("heard %q", got)
		}
	})
}

// A debt is not paid while the lease of its owner may have lapsed: the next renewal
// decides whether it is still the owner's.
func TestRuleDebtWaitsForTheLease(t *testing.T) {
	for _, swept := range []bool{false, true} {
		name := map[bool]string{false: "renewed", true: "swept"}[swept]
		t.Run(name, func(t *testing.T) {
			onStage(t, nil, func(t *testing.T, s *stage) {
				a, b := s.node("a"), s.node("b")
				var mu sync.Mutex
				calls := make(map[string]int)
				count := func(node string) func(string, string) {
					return func(string, string) {
						mu.Lock()
						defer mu.Unlock()
						calls[node]++
					}
				}
				wants := func(onA, onB int) {
					t.Helper()
					synctest.Wait()
					mu.Lock()
					defer mu.Unlock()
					if calls["a"] != onA || calls["b"] != onB {
						t.Errorf("callbacks: %v, want %d on a and %d on b", calls, onA, onB)
					}
				}
				a.SetDisconnectCallback(count("a"))
				b.SetDisconnectCallback(count("b"))
				g := s.guest(a, "joe", "")
				time.Sleep(5 * time.Second)
				s.bus.Line("b").Cut(backplanetest.Hang) // it collects nothing
				s.bus.Line("a").Fail(backplanetest.Renew, backplanetest.Before, 1000)
				time.Sleep(4 * time.Second)
				g.sink.leave()
				g.cancel()
				time.Sleep(time.Second)
				wants(0, 0)
				if swept {
					s.bus.Line("b").Heal()
					time.Sleep(10 * time.Second)
					wants(0, 1)
				}
				s.bus.Line("a").Calm()
				time.Sleep(5 * time.Second)
				if swept {
					wants(0, 1)
				} else {
					wants(1, 0)
				}
			})
		})
	}
}

// Join waits until the register has the client's sessions on its node: the first session
// that is listed begins the client anew.
func TestRuleJoinWaitsForTheListing(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.bus.Line("a").Fail(backplanetest.Update, backplanetest.Before, 1000)
		early := s.guest(a, "joe", "") // its stream begins without the register
		joined := make(chan error, 1)
		go func() { joined <- a.Join(t.Context(), "joe", "room") }()
		time.Sleep(time.Second)
		if len(joined) > 0 {
			t.Error("Join has not waited")
		}
		other := s.guest(b, "joe", "")
		s.bus.Line("a").Calm()
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
		s.publish(b, Topics("room"), "in the room")
		early.wants("@", "in the room")
		other.wants("@", "in the room")
	})
}

// What a node could not write into the register for long does not overwrite what the
// register has by then, though both are of histories that are over.
func TestRuleStaleFactsAreNotPutBack(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.guest(b, "joe", "")
		g := s.guest(a, "joe", "")
		if err := b.Join(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.bus.Line("a").Freeze() // it hears nothing, but goes on writing
		synctest.Wait()
		s.truth.newEpoch(0)
		time.Sleep(time.Second)
		if err := b.Leave(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		s.truth.newEpoch(0)
		synctest.Wait()
		a.roster.relist()
		synctest.Wait()
		s.bus.Line("a").Heal()
		time.Sleep(5 * time.Second)
		s.publish(b, Topics("room"), "in the room")
		if got := g.heard(); slices.Contains(got, "in the room") {
			t.Errorf("heard %q", got)
		}
	})
}

// A disconnect in an epoch that the node is yet to come to ends the sessions whose
// position was taken before, also when they knew of it from the register.
func TestRuleDisconnectAheadOfTheNode(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.bus.Line("a").Freeze()
		synctest.Wait()
		s.truth.newEpoch(0)
		time.Sleep(time.Second)
		if err := b.Disconnect(t.Context(), "joe", ""); err != nil {
			t.Fatal(err)
		}
		s.publish(b, Everyone(), "1", "2")
		g := s.guest(a, "joe", "")
		s.truth.tamper.Trim(1)
		s.bus.Line("a").Heal()
		time.Sleep(5 * time.Second)
		if !errors.Is(g.conn.Err(), ErrDisconnected) {
			t.Errorf("the disconnect was lost: %v", g.conn.Err())
		}
	})
}

// A disconnect whose place the register does not have yet counts as missed by a node that
// jumps: its entry may have been passed over.
func TestRuleDisconnectThatIsBeingMade(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.publish(b, Everyone(), "1")
		s.bus.Line("a").Freeze()
		synctest.Wait()
		s.bus.Line("b").Delay(time.Second, time.Second)
		done := make(chan error)
		go func() { done <- b.Disconnect(t.Context(), "joe", "") }()
		time.Sleep(1500 * time.Millisecond) // the register has the first part
		g := s.guest(a, "joe", "")
		time.Sleep(2 * time.Second) // the entry is in the log
		s.publish(s.node("c"), Everyone(), "2", "3")
		s.truth.tamper.Trim(1)
		s.bus.Line("a").Heal()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if !errors.Is(g.conn.Err(), ErrDisconnected) {
			t.Errorf("the disconnect was lost: %v", g.conn.Err())
		}
	})
}

// A client begins anew with its first session that the register had, also when the reply
// to that was lost: what was joined since is not forgotten.
func TestRuleLostReplyForgetsNoJoin(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.bus.Line("a").Fail(backplanetest.Update, backplanetest.After, 8) // some seconds
		early := s.guest(a, "joe", "")
		if err := b.Join(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		s.publish(b, Everyone(), "1")
		s.guest(a, "joe", "")
		time.Sleep(10 * time.Second)
		later := s.guest(b, "joe", "")
		s.publish(b, Topics("room"), "in the room")
		early.wants("@", "1", "in the room")
		later.wants("@", "in the room")
	})
}

// Of two Joins and Leaves with one number, because the bus had lost the first, the
// one that the register has counts.
func TestRuleNumberGivenOutAgain(t *testing.T) {
	onStage(t, []backplane.MemoryOption{backplane.WithTags()}, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		g := s.guest(a, "joe", "")
		s.publish(b, Everyone(), "1")
		if err := b.Join(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.bus.Line("a").Freeze()
		s.bus.Line("b").Freeze()
		synctest.Wait()
		s.truth.rollback(1)
		if err := b.Leave(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		s.bus.Line("a").Heal()
		s.bus.Line("b").Heal()
		time.Sleep(5 * time.Second)
		s.publish(b, Topics("room"), "in the room")
		if got := g.heard(); slices.Contains(got, "in the room") {
			t.Errorf("heard %q", got)
		}
	})
}

// What the bus says of its clock may have been under way for long: that does not make it
// seem to be behind.
func TestRuleLatePagesDoNotMoveTheClock(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.publish(b, Everyone(), "old")
		time.Sleep(10 * time.Second)
		s.publish(b, Everyone(), "new")
		s.bus.Line("a").Late(1900*time.Millisecond, 1900*time.Millisecond)
		s.publish(b, Everyone(), "late")
		time.Sleep(2 * time.Second)
		s.guest(a, "joe", "", Since(11*time.Second)).wants("new", "late")
	})
}

// A connection that joins a topic follows it from there, also when it was to follow it from a
// later Join on, of which it knew before its node did.
func TestRuleOwnJoinBeforeOneThatIsAhead(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.guest(b, "joe", "")
		s.bus.Line("a").Freeze()
		synctest.Wait()
		s.publish(b, Everyone(), "1", "2")
		s.publish(b, Topics("room"), "before")
		if err := b.Join(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		g := s.guest(a, "joe", "")
		if err := g.conn.Join("room"); err != nil {
			t.Fatal(err)
		}
		s.truth.tamper.Trim(3)
		s.bus.Line("a").Heal()
		time.Sleep(5 * time.Second)
		if got := g.heard(); !slices.Contains(got, "before") {
			t.Errorf("heard %q", got)
		}
	})
}

// What a node puts back into the register does not overwrite a Leave that is being made.
func TestRuleLeaveThatIsBeingMadeIsNotOverwritten(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		g := s.guest(a, "joe", "")
		if err := b.Join(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.bus.Line("a").Freeze()
		synctest.Wait()
		s.bus.Line("b").Delay(time.Second, time.Second)
		done := make(chan error)
		go func() { done <- b.Leave(t.Context(), "joe", "room") }()
		time.Sleep(3500 * time.Millisecond) // asked who is there, and written the first part
		a.roster.relist()
		time.Sleep(2 * time.Second) // the entry is in the log
		s.publish(s.node("c"), Everyone(), "2", "3")
		s.truth.tamper.Trim(1)
		s.bus.Line("a").Heal()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		s.publish(b, Topics("room"), "in the room")
		if got := g.heard(); slices.Contains(got, "in the room") {
			t.Errorf("heard %q", got)
		}
	})
}

// Who connects to a node that is an epoch behind keeps the topics that it names, whatever the
// register says of the time before; if the bus does not say which of the two is older, it is told
// to come back.
func TestRuleFactsOfAnUnknownEpochArePlaced(t *testing.T) {
	for fails, refused := range map[int]bool{1: false, 1000: true} {
		t.Run(fmt.Sprint(fails), func(t *testing.T) {
			onStage(t, nil, func(t *testing.T, s *stage) {
				behind, ahead := s.node("behind"), s.node("ahead")
				s.guest(behind, "joe", "")
				if err := ahead.Join(t.Context(), "joe", "room"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				line := s.bus.Line("behind")
				line.Freeze()
				synctest.Wait()
				s.truth.newEpoch(0)
				if err := ahead.Leave(t.Context(), "joe", "room"); err != nil {
					t.Fatal(err)
				}
				line.Fail(backplanetest.Bounds, backplanetest.Before, fails)
				g := s.comer(behind, "joe", "", FollowTopics("room"))
				if (g.conn == nil) != refused || refused && !errors.Is(g.err, ErrUnavailable) {
					t.Fatalf("connection %v, %v", g.conn, g.err)
				}
				if refused {
					return
				}
				line.Calm()
				time.Sleep(5 * time.Second)
				s.publish(ahead, Topics("room"), "x")
				g.wants("@", `reset {"reason":"history"}`, "x")
			})
		})
	}
}

// A Leave from before a session that another node puts back into a register which was lost
// does not undo what the session has named since.
func TestRuleLeavePutBackDoesNotUndoWhatIsNamed(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		s.guest(b, "joe", "")
		if err := b.Leave(t.Context(), "joe", "room"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.bus.Line("b").Cut(backplanetest.Hang)
		synctest.Wait()
		s.truth.loseAll()
		time.Sleep(2 * time.Second)
		g := s.guest(a, "joe", "", FollowTopics("room"))
		s.bus.Line("b").Heal()
		time.Sleep(10 * time.Second)
		s.truth.newEpoch(0)
		time.Sleep(5 * time.Second)
		s.publish(b, Topics("room"), "in the room")
		if got := g.heard(); !slices.Contains(got, "in the room") {
			t.Errorf("heard %q", got)
		}
	})
}
