package backplanetest

import (
	"slices"

	"github.com/sseplane/sseplane/backplane"
)

func namespaceChecks() []check {
	return []check{
		{"have logs of their own", namespaceLogs},
		{"have registers of their own", namespaceRegisters},
		{"opened twice on one backplane", namespaceTwice},
		{"outlive their nodes", namespaceOutlives},
	}
}

// two opens two namespaces on one connection.
func (e *env) two() (a, b backplane.Log) {
	e.Helper()
	bus := e.h.New(e.T)
	other := e.cfg
	other.Namespace += " other"
	return e.open(bus, e.cfg), e.open(bus, other)
}

func namespaceLogs(e *env) {
	a, b := e.two()
	fromA, fromB := e.bounds(a), e.bounds(b)
	fa, fb := e.follow(a, fromA.First), e.follow(b, fromB.First)
	for i, l := range []backplane.Log{a, b} {
		p := &producer{e: e, log: l, id: "same"}
		p.send(withKey("same", []string{"in a", "in b"}[i]))
	}
	if got := texts(fa.wait(1)); !slices.Equal(got, []string{"in a"}) {
		e.Errorf("a has %q", got)
	}
	if got := texts(fb.wait(1)); !slices.Equal(got, []string{"in b"}) {
		e.Errorf("b has %q", got)
	}
	e.newEpoch(a, fromA.Epoch)
	e.mustBe(fa.end(), backplane.ErrEpoch, "Follow of a")
	if got := e.bounds(b); got.Epoch != fromB.Epoch {
		e.Errorf("the epoch of a changed b from %+v to %+v", fromB, got)
	}
	e.producer(b).publish("more")
	fb.wait(2)
}

func namespaceRegisters(e *env) {
	a, b := e.two()
	s := session("s", "c", "n")
	e.renew(a, "n", long)
	e.wantJoined(e.add(a, s), "c")
	e.put(a, metadata("c", "of a", backplane.Position{}))
	e.wantSessions(b)
	e.wantPresence(b, "c", backplane.Absent)
	e.wantFacts(b)
	e.wantJoined(e.add(b, s), "c")
	e.renew(b, "o", long)
	e.wantDebts("in b, where n has no lease", e.drain(b, "o", 10), endedDebts(s))
	e.mustBe(b.Renew(e.ctx, "n", long), backplane.ErrSwept, "Renew in b")
	e.renew(a, "n", long)
	e.wantSessions(a, s)
}

func namespaceTwice(e *env) {
	bus := e.h.New(e.T)
	a, b := e.open(bus, e.cfg), e.open(bus, e.cfg)
	from := e.bounds(a).First
	f := e.follow(b, from).connected()
	e.must(a.Close(e.ctx), "Close")
	e.producer(b).publish("a")
	if got := texts(f.wait(1)); !slices.Equal(got, []string{"a"}) {
		e.Fatalf("got %q", got)
	}
}

func namespaceOutlives(e *env) {
	l := e.node()
	b := e.bounds(l)
	p := e.producer(l)
	first := p.publish("a", "b")
	s := session("s", "c", "n")
	e.renew(l, "n", long)
	e.add(l, s)
	e.put(l, metadata("c", "x", backplane.Position{}))
	e.must(l.Close(e.ctx), "Close")

	l = e.node()
	if after := e.bounds(l); after.Epoch != b.Epoch {
		e.Fatalf("opened again: %+v became %+v", b, after)
	}
	if got := texts(e.readAll(l, b.First)); !slices.Equal(got, []string{"a", "b"}) {
		e.Fatalf("opened again the log has %q", got)
	}
	again, err := publish(e.ctx, l, p.last)
	e.must(err, "Publish again")
	if !slices.Equal(again, first) {
		e.Fatalf("first %v, again %v", first, again)
	}
	e.wantSessions(l, s)
	e.wantFacts(l, metadata("c", "x", backplane.Position{}))
}
