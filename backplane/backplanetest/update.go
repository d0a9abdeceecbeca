package backplanetest

import (
	"fmt"
	"slices"
	"sync"

	"github.com/sseplane/sseplane/backplane"
)

func updateChecks() []check {
	return []check{
		{"adds sessions whole", updateAdds},
		{"repeated it has the same effect and result", updateAgain},
		{"joined is who was absent", updateJoined},
		{"a client joins once from many nodes at once", updateJoinedOnce},
		{"adding a live session replaces its record", updateReplaces},
		{"ending makes a debt", updateEnds},
		{"ending repeated returns the debt until it is settled", updateEndsAgain},
		{"ending what is not there", updateEndsNothing},
		{"ending one of two", updateEndsOne},
		{"a session that ended is not added again", updateNotAgain},
		{"a session added and ended in one call", updateAddEnd},
		{"a late end does not touch the next session", updateLateEnd},
		{"returns the facts of the clients added", updateFacts},
		{"many sessions in one call", updateMany},
	}
}

func updateAdds(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	a := session("a", "c", "n", "t1", "t2", "t 3")
	b := session("b", "d", "n")
	b.NodeName = ""
	e.wantJoined(e.add(l, a, b), "c", "d")
	e.wantSessions(other, a, b)
}

func updateAgain(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	before := session("before", "old", "n")
	e.add(l, before)
	for range 3 {
		r := e.update(l, "n", []backplane.Session{session("a", "c", "n", "t")}, []string{"before"})
		e.wantJoined(r, "c")
		e.wantDebts("ended", r.Ended, endedDebts(before))
		e.wantSessions(other, session("a", "c", "n", "t"))
	}
}

func updateJoined(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	e.wantJoined(e.add(l, session("1", "c", "n"), session("2", "c", "n"), session("3", "d", "n")), "c", "d")
	e.wantJoined(e.add(l, session("4", "c", "n")))
	e.wantJoined(e.add(other, session("5", "c", "o"), session("6", "f", "o")), "f")
	e.update(l, "n", nil, []string{"3"})
	e.wantJoined(e.add(other, session("7", "d", "o"))) // recent
}

func updateJoinedOnce(e *env) {
	logs := e.nodes(4)
	for i, l := range logs {
		e.renew(l, fmt.Sprint("n", i), long)
	}
	clients := e.heavy(100)
	var mu sync.Mutex // guards joined
	var joined []string
	e.together(3*len(logs), func(i int) error {
		node := i % len(logs)
		var add []backplane.Session
		for c := range clients {
			add = append(add, session(fmt.Sprint(i, "-", c), fmt.Sprint("c", c), fmt.Sprint("n", node)))
		}
		for chunk := range slices.Chunk(add, 10) {
			r, err := logs[node].Update(e.ctx, fmt.Sprint("n", node), chunk, nil)
			if err != nil {
				return err
			}
			mu.Lock()
			joined = append(joined, r.Joined...)
			mu.Unlock()
		}
		return nil
	})
	slices.Sort(joined)
	if distinct := slices.Compact(slices.Clone(joined)); len(joined) != clients || len(distinct) != clients {
		e.Fatalf("%d clients joined %d times", len(distinct), len(joined))
	}
}

func updateReplaces(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.add(l, session("a", "c", "n", "t1", "t2"), session("b", "c", "n", "t1"))
	e.add(l, session("a", "c", "n", "t3"))
	e.wantSessions(other, session("a", "c", "n", "t3"), session("b", "c", "n", "t1"))
	e.add(l, session("a", "c", "n"))
	e.wantSessions(other, session("a", "c", "n"), session("b", "c", "n", "t1"))
	r := e.update(l, "n", []backplane.Session{session("b", "c", "n", "t4")}, []string{"a", "b"})
	e.wantDebts("ended", r.Ended, endedDebts(session("a", "c", "n"), session("b", "c", "n", "t4")))
	e.wantSessions(other)
}

func updateEnds(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	a, b := session("a", "c", "n", "t1", "t2"), session("b", "d", "n")
	e.add(l, a, b)
	r := e.update(l, "n", nil, []string{"a"})
	e.wantDebts("ended", r.Ended, endedDebts(a))
	e.wantJoined(r)
	e.wantSessions(other, b)
	e.renew(other, "o", long)
	e.wantDebts("of a node with a lease", e.drain(other, "o", 10), nil)
	e.release(l, "n")
	e.wantDebts("of a node that is gone", e.drain(other, "o", 10), endedDebts(a, b))
}

func updateEndsAgain(e *env) {
	l := e.node()
	e.renew(l, "n", long)
	a, b := session("a", "c", "n"), session("b", "c", "n")
	e.add(l, a, b)
	for range 3 {
		e.wantDebts("ended", e.update(l, "n", nil, []string{"a"}).Ended, endedDebts(a))
	}
	e.wantDebts("ended", e.update(l, "n", nil, []string{"b", "a"}).Ended, endedDebts(a, b))
	for range 2 {
		e.settle(l, "n", endedDebts(a)...)
		e.wantDebts("ended", e.update(l, "n", nil, []string{"a", "b"}).Ended, endedDebts(b))
	}
}

func updateEndsNothing(e *env) {
	l := e.node()
	e.renew(l, "n", long)
	e.wantDebts("ended", e.update(l, "n", nil, []string{"x", "y"}).Ended, nil)
	a := session("a", "c", "n")
	e.add(l, a)
	e.wantDebts("ended", e.update(l, "n", nil, []string{"x", "a", "y"}).Ended, endedDebts(a))
}

func updateEndsOne(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	e.add(l, session("a", "c", "n"), session("b", "c", "n"))
	e.add(other, session("d", "c", "o"))
	e.update(l, "n", nil, []string{"a"})
	e.wantPresence(l, "c", backplane.Present)
	e.update(l, "n", nil, []string{"b"})
	e.wantPresence(l, "c", backplane.Present)
	e.update(other, "o", nil, []string{"d"})
	e.wantPresence(l, "c", backplane.Recent)
}

func updateNotAgain(e *env) {
	l := e.node()
	e.renew(l, "n", long)
	a := session("a", "c", "n")
	e.add(l, a)
	e.update(l, "n", nil, []string{"a"})
	e.add(l, a)
	e.wantSessions(l)
	e.wantPresence(l, "c", backplane.Recent)
	e.settle(l, "n", endedDebts(a)...)
	e.add(l, a)
	e.wantSessions(l)
	e.wantPresence(l, "c", backplane.Recent)
	e.wantDebts("ended", e.update(l, "n", nil, []string{"a"}).Ended, nil)
}

func updateAddEnd(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	a := session("a", "c", "n", "t")
	for range 2 {
		r := e.update(l, "n", []backplane.Session{a}, []string{"a"})
		e.wantJoined(r, "c")
		e.wantDebts("ended", r.Ended, endedDebts(a))
	}
	e.wantSessions(other)
	e.wantPresence(other, "c", backplane.Recent)
}

func updateLateEnd(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	e.add(l, session("a", "c", "n"))
	next := session("b", "c", "o")
	e.wantJoined(e.add(other, next))
	e.update(l, "n", nil, []string{"a"})
	e.update(l, "n", nil, []string{"a"})
	e.settle(l, "n", endedDebts(session("a", "c", "n"))...)
	e.wantSessions(l, next)
	e.wantPresence(l, "c", backplane.Present)
	e.wantDebts("of nobody", e.drain(other, "o", 10), nil)
}

func updateFacts(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	fact := func(client, value string) backplane.Fact {
		return backplane.Fact{Client: client, Kind: backplane.FactMetadata, Value: []byte(value), TTL: long}
	}
	e.put(other, fact("c", "of c"), fact("d", "of d"), fact("x", "of x"))
	r := e.add(l, session("1", "c", "n"), session("2", "c", "n"), session("3", "d", "n"), session("4", "e", "n"))
	e.compareFacts(r.Facts, fact("c", "of c"), fact("d", "of d"))
	e.put(other, fact("c", "new"))
	r = e.update(l, "n", []backplane.Session{session("5", "c", "n")}, []string{"3"})
	e.compareFacts(r.Facts, fact("c", "new"))
}

func updateMany(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	sessions := sessionsOf("n", e.heavy(2000))
	var ids []string
	for _, s := range sessions {
		ids = append(ids, s.ID)
	}
	if r := e.add(l, sessions...); len(r.Joined) != len(sessions) {
		e.Fatalf("%d of %d clients joined", len(r.Joined), len(sessions))
	}
	e.wantSessions(other, sessions...)
	e.wantDebts("ended", e.update(l, "n", nil, ids).Ended, endedDebts(sessions...))
	e.wantSessions(other)
	e.settle(l, "n", endedDebts(sessions...)...)
	e.wantDebts("ended", e.update(l, "n", nil, ids).Ended, nil)
}
