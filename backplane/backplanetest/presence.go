package backplanetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

func presenceChecks() []check {
	return []check{
		{"goes from absent to present to recent to absent", presenceLife},
		{"of a client on several nodes", presenceNodes},
		{"of a client whose node died", presenceDeath},
		{"of many clients, in the order of the question", presenceMany},
	}
}

func presenceLife(e *env) {
	e.cfg.ResumeGrace = 2 * e.h.Tick
	l, other := e.node(), e.node()
	e.wantPresence(other, "c", backplane.Absent)
	e.renew(l, "n", long)
	s := session("s", "c", "n")
	e.add(l, s)
	e.wantPresence(other, "c", backplane.Present)
	began := time.Now()
	e.update(l, "n", nil, []string{"s"})
	if got := e.presence(other, "c")[0]; got != backplane.Recent && time.Since(began) < e.cfg.ResumeGrace {
		e.Fatalf("presence within the grace: %v", got)
	}
	e.settle(l, "n", endedDebts(s)...)
	e.becomes(other, "c", backplane.Absent)
	e.notBefore("absent", began, e.cfg.ResumeGrace)
	e.ticks(1)
	e.wantPresence(other, "c", backplane.Absent)
}

func presenceNodes(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	e.add(l, session("a", "c", "n"))
	e.add(other, session("b", "c", "o"))
	e.release(l, "n")
	e.wantPresence(l, "c", backplane.Present)
	e.renew(l, "p", long)
	e.drain(l, "p", 10)
	e.wantPresence(l, "c", backplane.Present)
	e.update(other, "o", nil, []string{"b"})
	e.wantPresence(l, "c", backplane.Recent)
}

func presenceDeath(e *env) {
	e.cfg.ResumeGrace = 2 * e.h.Tick
	l, other := e.node(), e.node()
	e.renew(l, "n", e.h.Tick)
	e.add(l, session("s", "c", "n"))
	e.becomes(other, "c", backplane.Recent)
	e.ticks(4)
	e.wantPresence(other, "c", backplane.Recent) // however long it takes
	e.renew(other, "o", long)
	began := time.Now()
	e.collect(other, "o", 10)
	if got := e.presence(other, "c")[0]; got != backplane.Recent && time.Since(began) < e.cfg.ResumeGrace {
		e.Fatalf("presence within the grace: %v", got)
	}
	e.becomes(other, "c", backplane.Absent)
	e.notBefore("absent", began, e.cfg.ResumeGrace)
}

func presenceMany(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	sessions := sessionsOf("n", e.heavy(1000))
	e.add(l, sessions...)
	var clients []string
	var want []backplane.Presence
	for i, s := range sessions {
		clients = append(clients, s.Client, fmt.Sprint("nobody", i))
		want = append(want, backplane.Present, backplane.Absent)
	}
	clients = append(clients, clients[0], clients[1], clients[0])
	want = append(want, backplane.Present, backplane.Absent, backplane.Present)
	if got := e.presence(other, clients...); !slices.Equal(got, want) {
		e.Fatalf("got %v", got)
	}
	if got := e.presence(other); len(got) != 0 {
		e.Fatalf("presence of nobody: %v", got)
	}
}
