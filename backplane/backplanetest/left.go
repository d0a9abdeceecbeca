package backplanetest

import (
	"fmt"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

func leftChecks() []check {
	return []check{
		{"is due once after the grace", leftOnce},
		{"is not due while the client has a session", leftNotPresent},
		{"is not due when the client came back", leftCameBack},
		{"goes to one of many", leftConcurrent},
		{"goes on when its collector dies", leftDies},
		{"is due each time", leftEachTime},
		{"counts the grace of a dead node's clients from the sweep", leftSwept},
		{"without a grace", leftNoGrace},
	}
}

// leaving opens two nodes with a short grace, n with a lease and o to collect.
func (e *env) leaving() (l, other backplane.Log) {
	e.Helper()
	e.cfg.ResumeGrace = e.h.Tick
	l, other = e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	return l, other
}

// endOf ends a session and settles its debt, and returns a time before that.
func (e *env) endOf(l backplane.Log, s backplane.Session) time.Time {
	e.Helper()
	began := time.Now()
	r := e.update(l, s.Node, nil, []string{s.ID})
	e.wantDebts("ended", r.Ended, endedDebts(s))
	e.settle(l, s.Node, r.Ended...)
	return began
}

func (e *env) notBefore(what string, began time.Time, d time.Duration) {
	e.Helper()
	// Clocks of buses are as coarse as a millisecond, and drift.
	if took := time.Since(began); took < d-20*time.Millisecond {
		e.Fatalf("%s after %v, not before %v", what, took, d)
	}
}

func leftOnce(e *env) {
	l, other := e.leaving()
	s := session("s", "c", "n", "t")
	e.add(l, s)
	began := e.endOf(l, s)
	e.wantDebts("collected", e.await(other, "o", 1), []backplane.Debt{leftDebt("c")})
	e.notBefore("the client left", began, e.cfg.ResumeGrace)
	e.wantPresence(l, "c", backplane.Absent)
	e.ticks(2)
	e.wantDebts("collected again", e.drain(other, "o", 10), nil)
	e.wantDebts("collected by another", e.drain(l, "n", 10), nil)
	e.settle(other, "o", leftDebt("c"))
	e.release(other, "o")
	e.wantDebts("collected after it was settled", e.drain(l, "n", 10), nil)
}

func leftNotPresent(e *env) {
	l, other := e.leaving()
	a, b := session("a", "c", "n"), session("b", "c", "o")
	e.add(l, a)
	e.add(other, b)
	e.endOf(l, a)
	e.ticks(3)
	e.wantDebts("of a client with a session", e.drain(l, "n", 10), nil)
	e.endOf(other, b)
	e.wantDebts("of a client without one", e.await(l, "n", 1), []backplane.Debt{leftDebt("c")})
}

func leftCameBack(e *env) {
	l, other := e.leaving()
	a, b := session("a", "c", "n"), session("b", "c", "o")
	e.add(l, a)
	e.endOf(l, a)
	// Whether the grace was over by now or not, nobody has collected the leaving.
	e.wantJoined(e.add(other, b))
	e.ticks(3)
	e.wantDebts("of a client that came back", e.drain(l, "n", 10), nil)
	e.wantPresence(l, "c", backplane.Present)
	e.endOf(other, b)
	e.ticks(3)
	e.wantJoined(e.add(l, session("d", "c", "n")))
	e.wantDebts("of a client that came back late", e.drain(l, "n", 10), nil)
}

func leftConcurrent(e *env) {
	e.cfg.ResumeGrace = e.h.Tick
	logs := e.nodes(4)
	sessions := sessionsOf("n", e.heavy(200))
	e.renew(logs[0], "n", long)
	e.add(logs[0], sessions...)
	var ids []string
	var want []backplane.Debt
	for _, s := range sessions {
		ids = append(ids, s.ID)
		want = append(want, leftDebt(s.Client))
	}
	e.update(logs[0], "n", nil, ids)
	e.ticks(2)
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
}

func leftDies(e *env) {
	l, other := e.leaving()
	s := session("s", "c", "n")
	e.add(l, s)
	e.endOf(l, s)
	want := []backplane.Debt{leftDebt("c")}
	e.wantDebts("collected by o", e.await(other, "o", 1), want)
	e.release(other, "o")
	e.wantDebts("collected by n", e.await(l, "n", 1), want)
	e.release(l, "n")
	e.renew(other, "p", long)
	e.wantDebts("collected by p", e.await(other, "p", 1), want)
	e.settle(other, "p", want...)
	e.release(other, "p")
	e.renew(other, "q", long)
	e.ticks(2)
	e.wantDebts("collected by q", e.drain(other, "q", 10), nil)
}

func leftEachTime(e *env) {
	l, other := e.leaving()
	for i := range 3 {
		s := session(fmt.Sprint("s", i), "c", "n")
		e.wantJoined(e.add(l, s), "c")
		e.wantPresence(other, "c", backplane.Present)
		began := e.endOf(l, s)
		e.wantDebts("collected", e.await(other, "o", 1), []backplane.Debt{leftDebt("c")})
		e.notBefore("the client left", began, e.cfg.ResumeGrace)
		e.settle(other, "o", leftDebt("c"))
	}
}

func leftSwept(e *env) {
	l, other := e.leaving()
	s := session("s", "c", "n")
	e.add(l, s)
	e.release(l, "n")
	e.ticks(2)
	e.wantPresence(other, "c", backplane.Recent) // it has not been collected
	began := time.Now()
	e.wantDebts("collected", e.collect(other, "o", 1), endedDebts(s))
	e.wantDebts("collected", e.await(other, "o", 1), []backplane.Debt{leftDebt("c")})
	e.notBefore("the client left", began, e.cfg.ResumeGrace)
	e.wantPresence(other, "c", backplane.Absent)
}

func leftNoGrace(e *env) {
	e.cfg.ResumeGrace = 0
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	s := session("s", "c", "n")
	e.wantJoined(e.add(l, s), "c")
	e.endOf(l, s)
	e.becomes(other, "c", backplane.Absent)
	e.wantDebts("collected", e.await(other, "o", 1), []backplane.Debt{leftDebt("c")})
	e.wantJoined(e.add(l, session("s2", "c", "n")), "c")
}
