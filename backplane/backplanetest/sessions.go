package backplanetest

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/sseplane/sseplane/backplane"
)

func sessionsChecks() []check {
	return []check{
		{"of the clients named, or of all", sessionsNamed},
		{"those of one client stand together", sessionsTogether},
		{"include every update that has returned", sessionsFresh},
		{"while others come and go", sessionsChurn},
		{"the iteration can be left", sessionsBreak},
	}
}

func sessionsNamed(e *env) {
	l, other := e.node(), e.node()
	e.wantSessions(l)
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	a, b := session("a", "c", "n", "t"), session("b", "d", "n")
	a2, x := session("a2", "c", "o"), session("x", "f", "o")
	e.add(l, a, b)
	e.add(other, a2, x)
	e.wantSessions(l, a, b, a2, x)
	for _, test := range []struct {
		clients []string
		want    []backplane.Session
	}{
		{[]string{"c"}, []backplane.Session{a, a2}},
		{[]string{"d", "f"}, []backplane.Session{b, x}},
		{[]string{"nobody"}, nil},
		{[]string{"nobody", "d"}, []backplane.Session{b}},
		{[]string{"c", "d", "c", "c"}, []backplane.Session{a, a2, b}},
	} {
		e.compareSessions(fmt.Sprintf("sessions of %q", test.clients), e.list(other, test.clients...), test.want)
	}
}

func sessionsTogether(e *env) {
	logs := e.nodes(3)
	var want []backplane.Session
	for i, l := range logs {
		node := fmt.Sprint("n", i)
		e.renew(l, node, long)
		var add []backplane.Session
		for j := range e.heavy(200) {
			add = append(add, session(fmt.Sprint(node, "-", j), fmt.Sprint("c", j%50), node))
		}
		e.add(l, add...)
		want = append(want, add...)
	}
	e.wantSessions(logs[0], want...) // which checks that, too
}

func sessionsFresh(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	for i, s := range sessionsOf("n", e.heavy(50)) {
		e.add(l, s)
		if got := len(e.list(other)); got != i+1 {
			e.Fatalf("%d sessions were added, another node sees %d", i+1, got)
		}
		if got := e.list(other, s.Client); len(got) != 1 {
			e.Fatalf("another node does not see session %d", i)
		}
		e.wantPresence(other, s.Client, backplane.Present)
	}
	for i, s := range sessionsOf("n", e.heavy(50)) {
		e.update(l, "n", nil, []string{s.ID})
		e.settle(l, "n", endedDebts(s)...)
		if got := len(e.list(other)); got != e.heavy(50)-i-1 {
			e.Fatalf("%d sessions were ended, another node sees %d", i+1, got)
		}
	}
}

func sessionsChurn(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "stay", long)
	e.renew(l, "churn", long)
	stay := sessionsOf("stay", e.heavy(600))
	e.add(l, stay...)
	var done atomic.Bool
	e.together(2, func(i int) error {
		if i == 0 {
			defer done.Store(true)
			for round := range e.heavy(30) {
				var add []backplane.Session
				var end []string
				for j := range 20 {
					s := session(fmt.Sprint(round, "-", j), fmt.Sprint("stay-c", 7*j%len(stay)), "churn")
					add, end = append(add, s), append(end, s.ID)
				}
				if _, err := l.Update(e.ctx, "churn", add, nil); err != nil {
					return err
				}
				if _, err := l.Update(e.ctx, "churn", nil, end); err != nil {
					return err
				}
			}
			return nil
		}
		for again := true; again; {
			again = !done.Load()
			sessions, err := list(e.ctx, other)
			if err != nil {
				return err
			}
			sessions = slices.DeleteFunc(sessions, func(s backplane.Session) bool { return s.Node != "stay" })
			if len(sessions) != len(stay) {
				return fmt.Errorf("%d of the %d sessions that stay were listed", len(sessions), len(stay))
			}
		}
		return nil
	})
}

func sessionsBreak(e *env) {
	l := e.node()
	e.renew(l, "n", long)
	e.add(l, sessionsOf("n", 20)...)
	for range 3 {
		n := 0
		for _, err := range l.Sessions(e.ctx) {
			e.must(err, "Sessions")
			if n++; n == 5 {
				break
			}
		}
	}
	if got := len(e.list(l)); got != 20 {
		e.Fatalf("%d of 20 sessions", got)
	}
}
