package broker

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// A connection whose setting up has taken so long that the node can not tell any more what
// became of its client meanwhile is told to come back.
func TestRuleStaleConnectionComesBack(t *testing.T) {
	for name, meanwhile := range map[string]func(s *stage, a *Broker){
		"new epoch":  func(s *stage, _ *Broker) { s.truth.newEpoch(0) },
		"the window": func(s *stage, a *Broker) { s.publish(a, Everyone(), "1", "2", "3", "4", "5", "6") },
		"nothing":    func(*stage, *Broker) {},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, nil, func(t *testing.T, s *stage) {
				a := s.node("a", WithWindow(1<<10))
				s.publish(a, Everyone(), "0")
				sink := newTabSink(s.truth, "")
				sink.diary = new(diary)
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
				served := make(chan struct{})
				go func() {
					defer close(served)
					a.Handler(func(*http.Request) (Client, error) {
						time.Sleep(5 * time.Second)
						return Client{ID: "joe"}, nil
					}, Expires(time.Now().Add(time.Minute))).ServeHTTP(sink, r)
				}()
				synctest.Wait()
				meanwhile(s, a)
				<-served
				if opened := sink.Header().Get("Sse-Session") != ""; opened != (name == "nothing") || sink.status != http.StatusOK {
					t.Errorf("the stream was opened: %v; status %d", opened, sink.status)
				}
			})
		})
	}
}

// A node that has heard nothing for longer than the register remembers may have missed disconnects:
// it sends its sessions away, who resume.
func TestRuleNodeThatWasDeafTooLongSendsItsSessionsAway(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		deaf, other := s.node("deaf"), s.node("other")
		g := s.guest(deaf, "joe", "")
		s.bus.Line("deaf").Freeze()
		if err := other.Disconnect(t.Context(), "joe", "enough"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		s.publish(other, Everyone(), "1", "2")
		s.bus.Line("deaf").Heal()
		time.Sleep(5 * time.Second)
		if g.conn.Err() == nil {
			t.Error("the session is still there")
		}
	}, WithRetention(5*time.Second, 1<<20))
}

// What waits in the queue of a session that is reset is before the reset, and not written.
func TestRuleResetEmptiesTheQueue(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a", WithWriteDeadline(time.Hour))
		s.stalled = true
		g := s.guest(a, "joe", "")
		s.publish(a, Everyone(), "1", "2", "3")
		a.node.mu.Lock()
		a.node.resetNow(g.conn.session, ResetHistory)
		a.node.mu.Unlock()
		g.sink.stall(false)
		g.wants("@", `reset {"reason":"history"}`)
		s.publish(a, Everyone(), "4")
		g.wants("@", `reset {"reason":"history"}`, "4")
	})
}

// What the bus says last of its epoch is what the follower hears, also when it has not heard the
// one before yet.
func TestRuleTheLastAnswerCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nd := newNode(defaultConfig(), new(counters))
		at := Position{Epoch: "e1", Seq: 1}
		nd.begin(backplane.Page{After: at, Upto: at})
		nd.waiting[&session{state: stateForeign, cursor: Position{Epoch: "e3", Seq: 5}}] = struct{}{}
		f := newFollower(nd, boundsLog{bounds: backplane.Bounds{Epoch: "e3"}}, defaultConfig())
		f.moved <- "e2"
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.runQuestions(ctx) }()
		nd.askBus()
		synctest.Wait()
		if epoch := <-f.moved; epoch != "e3" {
			t.Errorf("the follower hears of %s", epoch)
		}
		cancel()
		<-done
	})
}

// boundsLog is a log that knows where it ends.
type boundsLog struct {
	backplane.Log
	bounds backplane.Bounds
}

func (l boundsLog) Bounds(context.Context) (backplane.Bounds, error) { return l.bounds, nil }
