package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/sse"
)

// Each test here holds one rule of the design, and fails when the rule is taken out.

var withHoles = []backplane.MemoryOption{backplane.WithHoles()}
var withTags = []backplane.MemoryOption{backplane.WithTags()}

// A node takes a page only if it continues the log where the node stands.
func TestRulePageContinuesTheLog(t *testing.T) {
	nd, _ := crowd(t, 1)
	gap := backplane.Page{After: Position{Epoch: "e", Seq: 3}, Upto: Position{Epoch: "e", Seq: 4}}
	other := backplane.Page{After: Position{Epoch: "f"}, Upto: Position{Epoch: "f", Seq: 1}}
	for _, page := range []backplane.Page{gap, other} {
		if nd.take(page) == nil || nd.at() != (Position{Epoch: "e"}) {
			t.Errorf("took a page after %v, and stands at %v", page.After, nd.at())
		}
	}
}

// History that is gone makes a new epoch once, however many nodes notice, and the reset carries
// the end of the log at that moment: what is published later is not skipped.
func TestRuleEpochChangesOnce(t *testing.T) {
	onStage(t, withHoles, func(t *testing.T, s *stage) {
		a, b, c := s.node("a"), s.node("b"), s.node("c")
		guests := []*guest{s.guest(a, "1", ""), s.guest(b, "2", ""), s.guest(c, "3", "")}
		s.publish(a, Everyone(), "one", "two", "three")
		s.bus.Line("c").Cut(backplanetest.Hang) // hears of it later
		synctest.Wait()
		s.truth.rollback(2)
		time.Sleep(time.Second)
		began := s.truth.bounds().Began
		s.publish(a, Everyone(), "four")
		s.bus.Line("c").Heal()
		time.Sleep(10 * time.Second)
		for i, g := range guests {
			g.wants("@", "one", "two", "three", `reset {"reason":"history"}`, "four")
			if id := g.lastReset().id; id != began.String() {
				t.Errorf("the reset of %d has the id %s, the epoch began at %v", i, id, began)
			}
		}
		if epochs := len(s.truth.epochs); epochs != 2 {
			t.Errorf("there have been %d epochs", epochs)
		}
	})
}

// A late answer of the bus that names an epoch which the node has left does not make
// another one.
func TestRuleOldAnswerMakesNoEpoch(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a")
		s.publish(a, Everyone(), "one")
		old := s.truth.bounds()
		s.truth.newEpoch(0)
		s.publish(a, Everyone(), "two")
		epoch := s.truth.bounds().Epoch
		// A session of an unknown epoch makes the node ask; the answer is an old one.
		g := s.guest(a, "joe", "~nowhere.1")
		asking := []*session{g.conn.session}
		if a.node.answer(asking, old) {
			a.node.askBus()
		}
		time.Sleep(5 * time.Second)
		if now := s.truth.bounds().Epoch; now != epoch {
			t.Errorf("the epoch changed from %s to %s for nothing", epoch, now)
		}
	})
}

// Coming back behind what the window holds costs the bus nothing.
func TestRuleResumeIsLocal(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a")
		from := s.publish(a, Everyone(), "one")
		s.publish(a, Everyone(), "two", "three")
		s.counts.since("Read")
		for i := range 20 {
			s.guest(a, fmt.Sprint(i), from.String()).wants("two", "three")
		}
		if n := s.counts.since("Read"); n != 0 {
			t.Errorf("the log was read %d times", n)
		}
	})
}

// One scan at a time serves all who are older than the window, from the lowest cursor on:
// what it costs does not grow with their number, and its rate is limited.
func TestRuleOneScanServesAll(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a", WithWindow(1<<10))
		from := s.publish(a, Everyone(), "0")
		var rest []string
		for i := range 60 {
			rest = append(rest, strings.Repeat("x", 10)+fmt.Sprint(i))
		}
		s.publish(a, Everyone(), rest...)
		s.counts.since("Read")
		s.bus.Line("a").Delay(time.Millisecond, time.Millisecond)
		began := time.Now()
		var guests []*guest
		var all sync.WaitGroup
		var mu sync.Mutex
		for i := range 100 {
			all.Go(func() {
				g := s.comer(a, fmt.Sprint(i), from.String())
				mu.Lock()
				defer mu.Unlock()
				guests = append(guests, g)
			})
		}
		all.Wait()
		time.Sleep(5 * time.Second)
		for _, g := range guests {
			g.wants(rest...)
		}
		// Each page is cut to the queue, so a scan takes several; they are shared.
		pages := s.counts.since("Read")
		if pages > 30 {
			t.Errorf("100 sessions took %d reads of the log", pages)
		}
		if last := slices.MaxFunc(guests, func(x, y *guest) int { return lastBlock(x).Compare(lastBlock(y)) }); lastBlock(last).Sub(began) < time.Duration(pages/2)*scanPause/2 {
			t.Errorf("%d reads within %v", pages, lastBlock(last).Sub(began))
		}
	}, option(func(c *config) { c.queueFrames, c.scanPage = 8, 600 }))
}

func lastBlock(g *guest) time.Time {
	blocks := g.sink.received()
	return blocks[len(blocks)-1].at
}

// A scan stops where its node stands, also when the bus has more: the feed brings the rest, once.
func TestRuleScanStaysBehindTheNode(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a", WithWindow(1<<10)), s.node("b")
		from := s.publish(b, Everyone(), "0")
		s.publish(b, Everyone(), "1", "2", "3", "4", "5", "6", "7", "8")
		s.bus.Line("a").Late(time.Second, time.Second)
		if _, err := b.Publish(t.Context(), Everyone(), sse.StringEvent{Data: "9"}); err != nil {
			t.Fatal(err)
		}
		g := s.guest(a, "joe", from.String())
		time.Sleep(500 * time.Millisecond)
		g.wants("1", "2", "3", "4", "5", "6", "7", "8")
		time.Sleep(5 * time.Second)
		g.wants("1", "2", "3", "4", "5", "6", "7", "8", "9")
	})
}

// Whether a cursor can be served is one comparison: with the predecessor of the first entry retained.
func TestRuleCompleteFromFirst(t *testing.T) {
	onStage(t, withHoles, func(t *testing.T, s *stage) {
		a := s.node("a", WithWindow(1<<10))
		before := s.publish(a, Everyone(), "0")
		first := s.publish(a, Everyone(), "1")
		var rest []string
		for i := range 20 {
			rest = append(rest, fmt.Sprint("more ", i))
		}
		s.publish(a, Everyone(), rest...)
		s.truth.tamper.Trim(20)
		if s.truth.bounds().First != first {
			t.Fatalf("the log begins at %v, not at %v", s.truth.bounds().First, first)
		}
		exact, late := s.guest(a, "exact", first.String()), s.guest(a, "late", before.String())
		time.Sleep(time.Second)
		exact.wants(rest...)
		if got := late.heard(); len(got) != 1 || got[0] != `reset {"reason":"retention"}` {
			t.Errorf("one entry too late: %q", got)
		}
	})
}

// Numbers that a bus gives out again are told apart by their tags: in the window, and in a scan.
func TestRuleTagsTellHistoriesApart(t *testing.T) {
	for name, window := range map[string]int{"window": 1 << 20, "scan": 1 << 10} {
		t.Run(name, func(t *testing.T) {
			onStage(t, withTags, func(t *testing.T, s *stage) {
				a := s.node("a")
				base := s.publish(a, Everyone(), "base")
				lost := s.publish(a, Everyone(), "lost")
				s.bus.Line("a").Cut(backplanetest.Hang) // nobody notices the loss
				synctest.Wait()
				s.truth.rollback(1)
				b := s.node("b", WithWindow(window))
				again := s.publish(b, Everyone(), "again")
				if lost.Seq != again.Seq {
					t.Fatalf("%v was not given out again: %v", lost, again)
				}
				for range 20 {
					s.publish(b, Everyone(), "more")
				}
				// Read from the lower cursor: the page holds the place of the other.
				var early, wrong *guest
				var both sync.WaitGroup
				both.Go(func() { early = s.comer(b, "early", base.String()) })
				both.Go(func() { wrong = s.comer(b, "wrong", lost.String()) })
				both.Wait()
				time.Sleep(time.Second)
				if got := early.heard(); len(got) != 21 || got[0] != "again" {
					t.Errorf("from before the loss: %q", got)
				}
				if got := wrong.heard(); len(got) == 0 || got[0] != `reset {"reason":"history"}` {
					t.Errorf("from the lost history: %q", got)
				}
			})
		})
	}
}

// A page of a scan that begins before a session's cursor does not serve it across
// histories either.
func TestRuleTagsInTheMiddleOfAPage(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		nd, sockets := crowd(t, 1)
		sess := sockets[0].s
		at := func(seq uint64, tag uint16) Position { return Position{Epoch: "e", Seq: seq, Tag: tag} }
		m, err := (&Broker{cfg: defaultConfig()}).encode(Everyone(), sse.StringEvent{Data: "x"}, publishConfig{})
		if err != nil {
			t.Fatal(err)
		}
		nd.mu.Lock()
		nd.pos = at(100, 0)
		sess.state, sess.cursor = stateScan, at(2, 7)
		nd.scanning[sess] = true
		nd.mu.Unlock()
		nd.handOut(backplane.Page{After: at(1, 1), Upto: at(3, 3), Entries: []backplane.Entry{
			{Position: at(2, 2), Data: m.Data}, {Position: at(3, 3), Data: m.Data},
		}})
		frames, _ := sess.take(nil)
		if len(frames) != 1 || !strings.Contains(string(frames[0].bytes), "reset") {
			t.Errorf("took %d frames", len(frames))
		}
	})
}

// A session without a cursor is told where it stands before anything else; one that
// resumes is sent nothing but what it missed.
func TestRuleFirstBlocks(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a")
		pos := s.publish(a, Everyone(), "one")
		g := s.guest(a, "new", "")
		if first := g.sink.received()[0]; first.id != pos.String() || first.hasData {
			t.Errorf("the first block is %+v", first)
		}
		next := s.publish(a, Everyone(), "two")
		back := s.guest(a, "back", pos.String())
		back.wants("two")
		current := s.guest(a, "current", next.String())
		current.wants()
	})
}

// No block carries an id beyond what was written to that socket: a position is sent
// only when nothing waits.
func TestRuleNoIDBeyondWhatWasWritten(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a", WithHeartbeat(time.Second), WithWriteDeadline(time.Hour))
		g := s.guest(a, "joe", "")
		g.sink.stall(true)
		s.publish(a, Everyone(), "in the socket", "in the queue")
		time.Sleep(10 * time.Second) // heartbeats are due
		g.sink.stall(false)
		got := g.heard()
		if !slices.Equal(got[:3], []string{"@", "in the socket", "in the queue"}) {
			t.Errorf("heard %q", got)
		}
	})
}

// A caught-up session that was written no id for a heartbeat interval gets the node's
// position, so that the cursor of a quiet client does not age; before a drain as well.
func TestRuleQuietCursorsDoNotAge(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a", WithHeartbeat(10*time.Second))
		g := s.guest(a, "joe", "")
		pos := s.publish(a, Topics("other"), "not for joe")
		time.Sleep(15 * time.Second)
		if g.sink.last() != pos.String() {
			t.Errorf("after a heartbeat the client stands at %s, the log at %v", g.sink.last(), pos)
		}
		pos = s.publish(a, Topics("other"), "not for joe either")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if g.sink.last() != pos.String() {
			t.Errorf("after a drain the client stands at %s, the log at %v", g.sink.last(), pos)
		}
	})
}

// A cursor ahead of its node waits for the node; one ahead of the log is a reset.
func TestRuleCursorAheadOfTheNodeWaits(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		slow, fast := s.node("slow"), s.node("fast")
		s.publish(fast, Everyone(), "one")
		s.bus.Line("slow").Freeze()
		pos := s.publish(fast, Everyone(), "two")
		g := s.guest(slow, "joe", pos.String())
		beyond := s.guest(slow, "ann", Position{Epoch: pos.Epoch, Seq: pos.Seq + 10}.String())
		time.Sleep(2 * time.Second)
		g.wants()
		beyond.wants(`reset {"reason":"history"}`)
		s.bus.Line("slow").Heal()
		s.publish(fast, Everyone(), "three")
		time.Sleep(2 * time.Second)
		g.wants("three")
	})
}

// A cursor of an epoch that the node does not know makes it ask the bus, once for all
// such sessions. If the bus has moved on the node moves first; if the bus does not
// know it either, it is a gap; if the bus does not answer, the session waits.
func TestRuleUnknownEpochsAreAskedFor(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		slow, fast := s.node("slow"), s.node("fast")
		s.publish(fast, Everyone(), "one")
		s.bus.Line("slow").Cut(backplanetest.Hang)
		synctest.Wait()
		s.truth.newEpoch(0)
		pos := s.publish(fast, Everyone(), "two")
		s.counts.since("Bounds")
		var moved, strange []*guest
		var all sync.WaitGroup
		var mu sync.Mutex
		for i := range 20 {
			for id, list := range map[string]*[]*guest{pos.String(): &moved, "~nowhere.1": &strange} {
				all.Go(func() {
					g := s.comer(slow, fmt.Sprint(i), id)
					mu.Lock()
					defer mu.Unlock()
					*list = append(*list, g)
				})
			}
		}
		all.Wait()
		time.Sleep(20 * time.Second)
		for _, g := range append(moved, strange...) {
			g.wants() // the bus does not answer
		}
		s.bus.Line("slow").Heal()
		time.Sleep(5 * time.Second)
		s.publish(fast, Everyone(), "three")
		for _, g := range moved {
			g.wants("three")
		}
		for _, g := range strange {
			g.wants(`reset {"reason":"history"}`, "two", "three") // from where the epoch began
		}
		if n := s.counts.since("Bounds"); n > 12 {
			t.Errorf("40 sessions took %d questions", n)
		}
	})
}

// A topic joined while connected starts at the join; a leave drops what was not
// written; a topic held in several ways is delivered once.
func TestRuleTopicsOfAConnection(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a", WithWriteDeadline(time.Hour))
		from := s.publish(a, Topics("x", "y"), "0")
		s.publish(a, Topics("late"), "before the join")
		g := s.guest(a, "joe", from.String(), FollowTopics("x", "y", "gone"))
		if err := g.conn.Join("late"); err != nil {
			t.Fatal(err)
		}
		s.publish(a, Topics("x", "y", "late"), "1")
		g.sink.stall(true)
		s.publish(a, Topics("x"), "2")
		s.publish(a, Topics("gone"), "dropped")
		s.publish(a, Topics("gone", "y"), "3")
		if err := g.conn.Leave("gone"); err != nil {
			t.Fatal(err)
		}
		g.sink.stall(false)
		g.wants("1", "2", "3")
		again := s.guest(a, "joe", from.String(), FollowTopics("x", "y", "late"))
		again.wants("before the join", "1", "2", "3")
	})
}

// What a connection has joined starts at the join also when it is still catching up.
func TestRuleJoinStartsAtTheJoinWhenBehind(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a", WithWriteDeadline(time.Hour))
		from := s.publish(a, Everyone(), "0")
		s.publish(a, Everyone(), "1", "2", "3")
		s.publish(a, Topics("t"), "before the join")
		s.publish(a, Everyone(), "4")
		s.stalled = true
		g := s.guest(a, "joe", from.String())
		if err := g.conn.Join("t"); err != nil {
			t.Fatal(err)
		}
		s.publish(a, Topics("t"), "after it")
		g.sink.stall(false)
		g.wants("1", "2", "3", "4", "after it")
	}, option(func(c *config) { c.queueFrames = 2 }))
}

// An event whose author gave it an id keeps it, and the position follows in the same write.
func TestRuleAuthorsIDs(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a")
		g := s.guest(a, "joe", "", FollowTopics("t"))
		pos, err := a.Publish(t.Context(), Topics("t"), sse.StringEvent{Id: "mine", Data: "1"})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		blocks := g.sink.received()
		if n := len(blocks); n != 3 || blocks[1].id != "mine" || blocks[2].id != pos.String() || blocks[1].clock != blocks[2].clock {
			t.Errorf("received %+v", blocks)
		}
		s.publish(a, Topics("t"), "2")
		s.guest(a, "cut", "mine", FollowTopics("t")).wants("2")
		s.guest(a, "other", "mine").wants(`reset {"reason":"position"}`) // not an event of its own
		// An id that is used again is no place any more, also when the first event has left the window.
		for range 2 {
			if _, err := a.Publish(t.Context(), Topics("t"), sse.StringEvent{Id: "mine", Data: "1"}); err != nil {
				t.Fatal(err)
			}
			s.publish(a, Topics("other"), "3", "4", "5", "6")
			s.guest(a, "again", "mine", FollowTopics("t")).wants(`reset {"reason":"position"}`)
		}
		if _, err := a.Publish(t.Context(), Topics("t"), sse.StringEvent{Id: pos.String(), Data: "x"}); !errors.Is(err, ErrInvalidEvent) {
			t.Errorf("an author's id that is a position: %v", err)
		}
		for i := range 20 {
			if _, err := a.Publish(t.Context(), Topics("t"), sse.StringEvent{Id: fmt.Sprint("mine ", i)}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := len(a.node.window.authors); n >= 10 {
			t.Errorf("%d ids of authors are kept", n)
		}
	}, WithWindow(2<<10))
}

// A reset that concerns everybody is spread over a couple of seconds, comes once, and no
// event comes before it.
func TestRuleResetsAreSpread(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a")
		var guests []*guest
		for i := range 50 {
			guests = append(guests, s.guest(a, fmt.Sprint(i), ""))
		}
		s.publish(a, Everyone(), "one")
		s.truth.newEpoch(0)
		time.Sleep(10 * time.Millisecond)
		s.publish(a, Everyone(), "two")
		time.Sleep(3 * time.Second)
		var first, last time.Time
		for _, g := range guests {
			g.wants("@", "one", `reset {"reason":"history"}`, "two")
			at := g.lastReset().at
			if first.IsZero() || at.Before(first) {
				first = at
			}
			if at.After(last) {
				last = at
			}
		}
		if spread := last.Sub(first); spread < resetSpread/2 || spread > resetSpread+time.Second {
			t.Errorf("50 resets within %v", spread)
		}
	})
}

// One batch of a node is under way at a time, and what is published meanwhile leaves
// together in the next; a lone event leaves at once.
func TestRuleBatches(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a")
		began := time.Now()
		s.publish(a, Everyone(), "alone")
		if time.Since(began) != 0 {
			t.Errorf("a lone event took %v", time.Since(began))
		}
		s.counts.since("Publish")
		s.bus.Line("a").Delay(10*time.Millisecond, 10*time.Millisecond)
		began = time.Now()
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				if _, err := a.Publish(t.Context(), Everyone(), sse.StringEvent{Data: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			})
			if i == 0 {
				synctest.Wait() // its batch is under way, and the others come meanwhile
			}
		}
		all.Wait()
		if n := s.counts.since("Publish"); n != 2 {
			t.Errorf("one event and 199 while it was under way took %d batches", n)
		}
		if took := time.Since(began); took < 30*time.Millisecond || took > 50*time.Millisecond {
			t.Errorf("two batches of 20 ms each took %v", took)
		}
	})
}

// A batch is tried again whole, as it was, until its latest deadline, and each caller
// waits on its own context.
func TestRuleBatchIsTriedUntilItsLatestDeadline(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a, b := s.node("a"), s.node("b")
		g := s.guest(b, "joe", "")
		line := s.bus.Line("a")
		line.Delay(10*time.Millisecond, 10*time.Millisecond)
		var all sync.WaitGroup
		publish := func(text string, patience time.Duration) {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				began := time.Now()
				_, err := a.Publish(ctx, Everyone(), sse.StringEvent{Data: text})
				switch took := time.Since(began); {
				case patience > 5*time.Second && err != nil:
					t.Errorf("%s: %v", text, err)
				case patience < 5*time.Second && (!errors.Is(err, ErrUnavailable) || took != patience):
					t.Errorf("%s: %v after %v", text, err, took)
				}
			})
			synctest.Wait()
		}
		publish("first", time.Minute) // the others leave together behind it
		publish("short", 2*time.Second)
		publish("long", time.Minute)
		time.Sleep(25 * time.Millisecond)
		line.Cut(backplanetest.Refuse) // the second batch is on its way
		time.Sleep(4 * time.Second)
		line.Fail(backplanetest.Publish, backplanetest.After, 1)
		line.Heal()
		all.Wait()
		g.wants("@", "first", "short", "long")
	})
}

// A node whose server is stale learns from a cursor of a newer epoch that the bus has
// moved on, and moves before it judges the cursor.
func TestRuleNodeMovesBeforeItJudges(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		stale, fresh := s.node("stale"), s.node("fresh")
		s.publish(fresh, Everyone(), "one")
		s.bus.Line("stale").Freeze()
		synctest.Wait()
		s.truth.newEpoch(0)
		pos := s.publish(fresh, Everyone(), "two")
		g := s.guest(stale, "joe", pos.String())
		time.Sleep(2 * time.Second)
		g.wants()
		s.publish(fresh, Everyone(), "three")
		s.bus.Line("stale").Heal()
		time.Sleep(2 * time.Second)
		g.wants("three")
	})
}

// A node that is two epochs behind does not reset a session that came with the newest one
// when it gets to the one in between. Who is reset in the end gets all that was accepted since.
func TestRuleNodeTwoEpochsBehindWaits(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		slow, fast := s.node("slow"), s.node("fast")
		s.guest(slow, "ann", "") // somebody of whom the slow node has to read
		s.publish(fast, Everyone(), "one")
		s.bus.Line("slow").Delay(time.Second, time.Second)
		s.truth.newEpoch(0)
		s.publish(fast, Everyone(), "two")
		time.Sleep(1500 * time.Millisecond) // the slow one is told of this epoch
		s.truth.newEpoch(0)
		pos := s.publish(fast, Everyone(), "three")
		g, strange := s.guest(slow, "joe", pos.String()), s.guest(slow, "eve", "~nowhere.1")
		s.publish(fast, Everyone(), "four")
		time.Sleep(20 * time.Second)
		g.wants("four")
		strange.wants(`reset {"reason":"history"}`, "three", "four")
	}, WithLease(time.Minute))
}

// Events without an id do not keep a session from being told its position.
func TestRulePositionAmongEphemeralEvents(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a", WithHeartbeat(10*time.Second))
		g := s.guest(a, "joe", "")
		begun := g.sink.last()
		for range 6 {
			time.Sleep(3 * time.Second)
			if _, err := a.Publish(t.Context(), Everyone(), sse.StringEvent{Data: "now"}, Ephemeral()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if g.sink.last() == begun {
			t.Error("the cursor ages")
		}
	})
}

// A session that does not keep up costs a queue of bounded size and no event: it goes on
// from its cursor when its socket takes bytes again.
func TestRuleSlowSessionsAreBounded(t *testing.T) {
	onStage(t, withHoles, func(t *testing.T, s *stage) {
		a := s.node("a", WithWriteDeadline(time.Hour), WithWindow(4<<10))
		g := s.guest(a, "joe", "")
		g.sink.stall(true)
		want := []string{"@"}
		most := 0
		for i := range 100 {
			text := fmt.Sprint(i)
			want = append(want, text)
			s.publish(a, Everyone(), text)
			session := g.conn.session
			session.mu.Lock()
			most = max(most, len(session.queue))
			session.mu.Unlock()
		}
		if most > 8 {
			t.Errorf("%d frames were queued", most)
		}
		g.sink.stall(false)
		time.Sleep(5 * time.Second)
		g.wants(want...)
	}, option(func(c *config) { c.queueFrames = 8 }))
}
