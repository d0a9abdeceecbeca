package broker

import (
	"testing"
	"testing/synctest"
	"time"
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
