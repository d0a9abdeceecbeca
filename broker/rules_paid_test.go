package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
)

// A debt that comes back after it was settled, because the bus has failed over to a server that
// had not heard of that, is settled again and not paid again.
func TestRuleSettledDebtThatComesBackIsNotPaidAgain(t *testing.T) {
	onStage(t, nil, func(t *testing.T, s *stage) {
		a := s.node("a")
		forgetful := &forgetfulBus{Backplane: s.bus.Line("b")}
		b := s.node("b", WithBackplane(forgetful))
		paid := make(chan string, 10)
		b.SetDisconnectCallback(func(client, _ string) { paid <- client })
		s.guest(a, "joe", "")
		time.Sleep(5 * time.Second)
		s.bus.Line("a").Cut(backplanetest.Hang) // dead
		time.Sleep(30 * time.Second)
		if len(paid) != 1 {
			t.Errorf("%d callbacks", len(paid))
		}
		if n := forgetful.settled.Load(); n != 2 {
			t.Errorf("the debt was settled %d times", n)
		}
	})
}

// forgetfulBus hands out once more what it has been told to be settled.
type forgetfulBus struct {
	backplane.Backplane
	settled atomic.Int64
}

func (f *forgetfulBus) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	log, err := f.Backplane.Open(ctx, cfg)
	return &forgetfulLog{Log: log, bus: f}, err
}

type forgetfulLog struct {
	backplane.Log
	bus *forgetfulBus

	mu    sync.Mutex
	again []backplane.Debt
}

func (l *forgetfulLog) Collect(ctx context.Context, node string, limit int) ([]backplane.Debt, error) {
	debts, err := l.Log.Collect(ctx, node, limit)
	l.mu.Lock()
	defer l.mu.Unlock()
	debts, l.again = append(debts, l.again...), nil
	return debts, err
}

func (l *forgetfulLog) Settle(ctx context.Context, node string, debts []backplane.Debt) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bus.settled.Add(int64(len(debts))) == 1 {
		l.again = debts
	}
	return l.Log.Settle(ctx, node, debts)
}
