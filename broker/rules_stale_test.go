package broker

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
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
