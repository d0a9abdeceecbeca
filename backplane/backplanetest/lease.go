package backplanetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

func leaseChecks() []check {
	return []check{
		{"its sessions count while it holds", leaseHolds},
		{"its sessions do not count when it has lapsed", leaseLapses},
		{"renewed in time it never lapses", leaseRenewed},
		{"lapsed and not swept it comes back", leaseComesBack},
		{"swept it never comes back", leaseSwept},
		{"lapsed nodes are renewed or swept, never both", leaseRace},
		{"released its node is collected at once", leaseReleased},
		{"released with nothing left", leaseReleasedEmpty},
		{"sessions may come before it", leaseLate},
	}
}

func leaseHolds(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	s := session("s", "c", "n")
	e.add(l, s)
	e.wantDebts("of a node with a lease", e.drain(other, "o", 10), nil)
	e.wantSessions(other, s)
	e.renew(l, "n", long)
	e.wantSessions(other, s)
}

func leaseLapses(e *env) {
	l, other := e.node(), e.node()
	began := time.Now()
	e.renew(l, "n", e.h.Tick)
	e.add(l, session("s", "c", "n"))
	e.eventually("the sessions are no longer listed", func() (bool, any) {
		sessions := e.list(other)
		return len(sessions) == 0, sessions
	})
	if took := time.Since(began); took < e.h.Tick-50*time.Millisecond {
		e.Fatalf("a lease of %v lapsed after %v", e.h.Tick, took)
	}
	e.renew(other, "o", long)
	e.wantDebts("of a node whose lease lapsed", e.await(other, "o", 1), endedDebts(session("s", "c", "n")))
}

// leaseRenewed renews a lease often while another node tries to collect. If the
// machine was too slow to renew it in time the round says nothing, and another is
// run with a longer lease.
func leaseRenewed(e *env) {
	l, other := e.node(), e.node()
	e.renew(other, "o", long)
	for ttl, round := 2*e.h.Tick, 0; ; ttl, round = 2*ttl, round+1 {
		node := fmt.Sprint("n", round)
		held := time.Now()
		e.renew(l, node, ttl)
		e.add(l, session("s of "+node, "c", node))
		late := false
		for began := held; !late && time.Since(began) < 3*ttl; {
			debts := e.drain(other, "o", 10)
			late = time.Since(held) >= ttl
			if len(debts) > 0 && !late {
				e.Fatalf("collected %+v within %v of a renewal for %v", debts, time.Since(held), ttl)
			}
			next := time.Now()
			if err := l.Renew(e.ctx, node, ttl); err != nil && !late {
				e.Fatalf("Renew: %v", err)
			}
			held = next
			e.must(e.pause(ttl/10), "pause")
		}
		if !late {
			return
		}
		e.Logf("the machine was too slow for leases of %v", ttl)
	}
}

func leaseComesBack(e *env) {
	l, other := e.node(), e.node()
	s := session("s", "c", "n")
	e.renew(l, "n", e.h.Tick)
	e.add(l, s)
	e.becomes(other, "c", backplane.Recent)
	e.renew(l, "n", long)
	e.wantSessions(other, s)
	e.wantPresence(other, "c", backplane.Present)
	e.renew(other, "o", long)
	e.wantDebts("of a node that came back", e.drain(other, "o", 10), nil)
	e.wantJoined(e.add(l, session("s2", "c2", "n")), "c2")
}

func leaseSwept(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", e.h.Tick)
	e.add(l, session("s", "c", "n"), session("s2", "c2", "n"))
	e.renew(other, "o", long)
	// One of two is enough.
	e.eventually("a debt to collect", func() (bool, any) {
		return len(e.collect(other, "o", 1)) == 1, nil
	})
	for i := range 3 {
		for _, log := range []backplane.Log{l, other} {
			e.mustBe(log.Renew(e.ctx, "n", long), backplane.ErrSwept, "Renew of a swept node")
			_, err := log.Update(e.ctx, "n", []backplane.Session{session("s3", "c3", "n")}, []string{"s", "s2"})
			e.mustBe(err, backplane.ErrSwept, "Update of a swept node")
		}
		e.wantSessions(other)
		e.wantPresence(other, "c3", backplane.Absent)
		if i == 0 {
			e.wantDebts("what is left", withoutOne(e, e.drain(other, "o", 10)), nil)
		}
		e.ticks(1)
	}
}

// withoutOne checks that there is one debt, and returns the rest.
func withoutOne(e *env, debts []backplane.Debt) []backplane.Debt {
	e.Helper()
	if len(debts) == 0 {
		e.Fatal("the second session was not collected")
	}
	return debts[1:]
}

func leaseRace(e *env) {
	collector, owner := e.node(), e.node()
	e.renew(collector, "o", long)
	e.renew(collector, "o2", long)
	const nodes = 20
	name := func(i int) string { return fmt.Sprint("n", i) }
	e.together(nodes, func(i int) error {
		if err := owner.Renew(e.ctx, name(i), e.h.Tick); err != nil {
			return err
		}
		_, err := owner.Update(e.ctx, name(i), sessionsOf(name(i), 1), nil)
		return err
	})
	e.eventually("all leases have lapsed", func() (bool, any) {
		n := len(e.list(owner))
		return n == 0, n
	})
	swept := make([]bool, nodes)
	collected := make([][]backplane.Debt, 2)
	e.together(nodes+2, func(i int) (err error) {
		if i < nodes {
			if err = owner.Renew(e.ctx, name(i), long); errors.Is(err, backplane.ErrSwept) {
				swept[i], err = true, nil
			}
			return err
		}
		collected[i-nodes], err = drain(e.ctx, collector, []string{"o", "o2"}[i-nodes], 3)
		return err
	})
	var live []backplane.Session
	var debts []backplane.Debt
	for i := range nodes {
		if swept[i] {
			debts = append(debts, endedDebts(sessionsOf(name(i), 1)...)...)
		} else {
			live = append(live, sessionsOf(name(i), 1)...)
		}
	}
	e.wantDebts("of the nodes that were not renewed", append(collected[0], collected[1]...), debts)
	e.wantSessions(owner, live...)
}

func leaseReleased(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	s := session("s", "c", "n", "a", "b")
	owed := session("s2", "c2", "n", "d")
	e.add(l, s, owed)
	e.update(l, "n", nil, []string{"s2"})
	e.release(l, "n")
	e.release(l, "n")
	e.wantSessions(other)
	e.wantPresence(other, "c", backplane.Recent)
	e.wantDebts("of a node that was released", e.drain(other, "o", 10), endedDebts(s, owed))
	e.release(l, "n")
}

func leaseReleasedEmpty(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.release(l, "n")
	e.release(l, "never seen")
	e.renew(other, "o", long)
	e.wantDebts("of nobody", e.drain(other, "o", 10), nil)
}

func leaseLate(e *env) {
	l, other := e.node(), e.node()
	s := session("s", "c", "n")
	e.wantJoined(e.add(l, s), "c")
	e.wantSessions(other)
	e.wantPresence(other, "c", backplane.Recent)
	e.renew(l, "n", long)
	e.wantSessions(other, s)
	e.wantPresence(other, "c", backplane.Present)
}
