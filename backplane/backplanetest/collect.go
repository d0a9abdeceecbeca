package backplanetest

import (
	"fmt"

	"github.com/sseplane/sseplane/backplane"
)

func collectChecks() []check {
	return []check{
		{"each debt goes to one of many", collectConcurrent},
		{"at most so many", collectMax},
		{"not what the node owes already", collectNotAgain},
		{"not from the node itself", collectSelf},
		{"settled debts are gone", collectSettled},
		{"debts of others cannot be settled", collectSettleOthers},
		{"the debts of a collector that dies go on", collectDies},
		{"the debts of a collector whose lease lapses go on", collectLapses},
		{"while nodes join, end and die", collectBusy},
	}
}

func collectConcurrent(e *env) {
	logs := e.nodes(4)
	var want []backplane.Debt
	for i := range 3 {
		node := fmt.Sprint("dead", i)
		sessions := sessionsOf(node, e.heavy(100))
		e.renew(logs[i], node, long)
		e.add(logs[i], sessions...)
		e.update(logs[i], node, nil, []string{sessions[0].ID})
		want = append(want, endedDebts(sessions...)...)
	}
	for i := range 3 {
		e.release(logs[i], fmt.Sprint("dead", i))
	}
	got := make([][]backplane.Debt, 2*len(logs))
	e.together(len(got), func(i int) (err error) {
		node := fmt.Sprint("collector", i)
		if err = logs[i/2].Renew(e.ctx, node, long); err == nil {
			got[i], err = drain(e.ctx, logs[i/2], node, 7)
		}
		return err
	})
	var all []backplane.Debt
	for _, debts := range got {
		all = append(all, debts...)
	}
	e.wantDebts("collected by all", all, want)
	e.renew(logs[0], "last", long)
	e.wantDebts("left", e.drain(logs[0], "last", 10), nil)
	e.wantSessions(logs[0])
}

func collectMax(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	sessions := sessionsOf("n", 10)
	e.add(l, sessions...)
	e.release(l, "n")
	var all []backplane.Debt
	for i := 1; len(all) < len(sessions); i++ {
		debts := e.collect(other, "o", i)
		if len(debts) == 0 {
			e.Fatalf("nothing after %d of %d debts", len(all), len(sessions))
		}
		all = append(all, debts...)
	}
	e.wantDebts("collected", all, endedDebts(sessions...))
}

func collectNotAgain(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	own := session("own", "d", "o")
	e.add(other, own)
	e.update(other, "o", nil, []string{"own"})
	s := session("s", "c", "n", "t")
	e.add(l, s)
	e.release(l, "n")
	e.wantDebts("collected", e.drain(other, "o", 10), endedDebts(s))
	for range 3 {
		e.wantDebts("collected again", e.drain(other, "o", 10), nil)
	}
}

func collectSelf(e *env) {
	l := e.node()
	s := session("s", "c", "n")
	e.add(l, s) // without a lease
	e.wantDebts("collected from itself", e.drain(l, "n", 10), nil)
	e.renew(l, "n", long)
	e.wantSessions(l, s)
}

func collectSettled(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	sessions := sessionsOf("n", 6)
	e.add(l, sessions...)
	e.update(l, "n", nil, []string{sessions[0].ID, sessions[1].ID})
	e.settle(l, "n", endedDebts(sessions[0])...)
	e.settle(l, "n", endedDebts(sessions[0])...)
	e.release(l, "n")
	debts := e.drain(other, "o", 10)
	e.wantDebts("collected", debts, endedDebts(sessions[1:]...))
	e.settle(other, "o", endedDebts(sessions[1:3]...)...)
	e.release(other, "o")
	e.renew(l, "p", long)
	e.wantDebts("left", e.drain(l, "p", 10), endedDebts(sessions[3:]...))
}

func collectSettleOthers(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	s, live := session("s", "c", "n"), session("live", "d", "n")
	e.add(l, s, live)
	e.update(l, "n", nil, []string{"s"})
	e.settle(other, "o", endedDebts(s, live)...)
	e.settle(other, "never seen", endedDebts(s, live)...)
	e.settle(l, "n", endedDebts(live)...) // does not owe it
	e.wantSessions(l, live)
	e.release(l, "n")
	e.wantDebts("collected", e.drain(other, "o", 10), endedDebts(s, live))
}

func collectDies(e *env) {
	logs := e.nodes(3)
	sessions := sessionsOf("n", 9)
	e.renew(logs[0], "n", long)
	e.add(logs[0], sessions...)
	e.release(logs[0], "n")
	left := sessions
	for i, l := range logs {
		node := fmt.Sprint("collector", i)
		e.renew(l, node, long)
		debts := e.drain(l, node, 4)
		e.wantDebts("collected by "+node, debts, endedDebts(left...))
		e.settle(l, node, endedDebts(left[:2]...)...)
		left = left[2:]
		e.release(l, node)
	}
}

func collectLapses(e *env) {
	logs := e.nodes(3)
	s := session("s", "c", "n", "t")
	e.add(logs[0], s) // without a lease
	e.renew(logs[1], "a", e.h.Tick)
	e.renew(logs[2], "b", long)
	e.wantDebts("collected by a", e.await(logs[1], "a", 1), endedDebts(s))
	e.wantDebts("collected by b", e.await(logs[2], "b", 1), endedDebts(s))
	e.mustBe(logs[1].Renew(e.ctx, "a", long), backplane.ErrSwept, "Renew of a collector that was swept")
	e.wantDebts("collected again", e.drain(logs[2], "b", 10), nil)
}

// collectBusy lets nodes live and die while collectors work, and counts: each
// session's debt goes to its node or to one collector.
func collectBusy(e *env) {
	logs := e.nodes(4)
	perNode, rounds := 20, e.heavy(20)
	got := make([][]backplane.Debt, 4)
	e.renew(logs[2], "x", long)
	e.renew(logs[3], "y", long)
	e.together(4, func(i int) error {
		l := logs[i]
		for round := range rounds {
			if i >= 2 {
				debts, err := drain(e.ctx, l, []string{"x", "y"}[i-2], 5)
				if err != nil {
					return err
				}
				got[i] = append(got[i], debts...)
				continue
			}
			node := fmt.Sprint("n", i, "-", round)
			if err := l.Renew(e.ctx, node, long); err != nil {
				return err
			}
			sessions := sessionsOf(node, perNode)
			if _, err := l.Update(e.ctx, node, sessions, nil); err != nil {
				return err
			}
			r, err := l.Update(e.ctx, node, nil, []string{sessions[0].ID, sessions[1].ID})
			if err != nil {
				return err
			}
			if err := l.Settle(e.ctx, node, r.Ended[:1]); err != nil {
				return err
			}
			got[i] = append(got[i], r.Ended[:1]...)
			if err := l.Release(e.ctx, node); err != nil {
				return err
			}
		}
		return nil
	})
	var want, all []backplane.Debt
	for i := range 2 {
		for round := range rounds {
			want = append(want, endedDebts(sessionsOf(fmt.Sprint("n", i, "-", round), perNode)...)...)
		}
	}
	got = append(got, e.drain(logs[2], "x", 100))
	for _, debts := range got {
		all = append(all, debts...)
	}
	e.wantDebts("settled or collected", all, want)
}
