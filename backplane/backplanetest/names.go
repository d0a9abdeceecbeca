package backplanetest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sseplane/sseplane/backplane"
)

func nameChecks() []check {
	return []check{
		{"of namespaces", nameNamespaces},
		{"of clients", nameClients},
		{"of sessions", nameSessions},
		{"of topics", nameTopics},
		{"of facts", nameFacts},
		{"of producers and nodes", nameNodes},
		{"that are none", nameInvalid},
	}
}

// oddNames are legal names that are easily taken for something else, or for one
// another.
func oddNames() []string {
	return []string{
		"a", "A", "a ", " a", " ", "a b", "a_b", "a-b", "a+b", "a%20b", "a.b", ".", "..", "a.", ".a", "a..b", "*", "a.*",
		">", "a.>", "$", "$JS", "/", "a/b", `\`, "a:b", ":", "{a}", "{", "}", "[a]", "a?b", "#", "0", "00", "-1", "null",
		"\n", "a\nb", "a\r\nb", "\t", "\x00", "a\x00b", "\x7f", `"`, "'", "`", "=", "a=", "~a.0", "é", "e\u0301", "ß", "ﬀ",
		"日本語", "🙂", "👩‍👩‍👧", "\u200b", "\u202e", "\ufeff", "\ufffd", strings.Repeat("x", 1024),
		strings.Repeat("x", 1023), strings.Repeat(".", 1024), strings.Repeat("🙂", 256), strings.Repeat("\x00", 1024),
	}
}

// nameNamespaces opens namespaces next to each other: each has its own log and its
// own register.
func nameNamespaces(e *env) {
	bus := e.h.New(e.T)
	// The names have to be fresh, and as odd as before.
	fresh := func(name string) string {
		if len(name)+27 <= backplane.MaxNameLen {
			return e.cfg.Namespace[len(e.cfg.Namespace)-26:] + name
		}
		return e.cfg.Namespace[len(e.cfg.Namespace)-26:] + strings.ToValidUTF8(name[27:], "")
	}
	names := oddNames()
	if e.h.Short {
		names = names[:20]
	}
	logs := make([]backplane.Log, len(names))
	from := make([]backplane.Position, len(names))
	for i, name := range names {
		cfg := e.cfg
		cfg.Namespace = fresh(name)
		logs[i] = e.open(bus, cfg)
		from[i] = e.bounds(logs[i]).First
	}
	for i, name := range names {
		p := &producer{e: e, log: logs[i], id: "same"}
		p.send(withKey("same", name))
		e.renew(logs[i], "same", long)
		e.wantJoined(e.add(logs[i], session("same", fmt.Sprint("c", i), "same")), fmt.Sprint("c", i))
	}
	for i, name := range names {
		if got := texts(e.readAll(logs[i], from[i])); !slices.Equal(got, []string{name}) {
			e.Errorf("namespace %q has %q", clip(name), got)
		}
		e.wantSessions(logs[i], session("same", fmt.Sprint("c", i), "same"))
	}
}

func clip(name string) string {
	if len(name) > 40 {
		return fmt.Sprintf("%s... (%d bytes)", name[:40], len(name))
	}
	return name
}

func nameClients(e *env) {
	e.cfg.ResumeGrace = 0
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	e.renew(other, "o", long)
	var sessions []backplane.Session
	var left []backplane.Debt
	for i, name := range oddNames() {
		sessions = append(sessions, session(fmt.Sprint(i), name, "n"))
		left = append(left, leftDebt(name))
	}
	e.wantJoined(e.add(l, sessions...), oddNames()...)
	e.wantSessions(other, sessions...)
	for i, name := range oddNames() {
		e.compareSessions(fmt.Sprintf("of %q", clip(name)), e.list(other, name), sessions[i:i+1])
	}
	for i, got := range e.presence(other, oddNames()...) {
		if got != backplane.Present {
			e.Errorf("presence of %q: %v", clip(oddNames()[i]), got)
		}
	}
	e.release(l, "n")
	e.wantDebts("collected", e.await(other, "o", 2*len(sessions)), append(endedDebts(sessions...), left...))
	e.settle(other, "o", append(endedDebts(sessions...), left...)...)
	e.release(other, "o")
	e.renew(l, "p", long)
	e.wantDebts("left", e.drain(l, "p", 10), nil)
}

func nameSessions(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	var sessions []backplane.Session
	for _, name := range oddNames() {
		sessions = append(sessions, session(name, "c", "n"))
	}
	e.wantJoined(e.add(l, sessions...), "c")
	e.wantSessions(other, sessions...)
	for i, name := range oddNames() {
		r := e.update(l, "n", nil, []string{name})
		e.wantDebts("ended", r.Ended, endedDebts(sessions[i]))
		e.settle(l, "n", r.Ended...)
	}
	e.wantSessions(other)
}

func nameTopics(e *env) {
	l, other := e.node(), e.node()
	e.renew(l, "n", long)
	s := session("s", "c", "n", oddNames()...)
	s.NodeName = "name\n\x00 🙂 " + strings.Repeat("x", 1000)
	e.add(l, s)
	e.wantSessions(other, s)
}

func nameFacts(e *env) {
	l, other := e.node(), e.node()
	var facts []backplane.Fact
	for _, name := range oddNames() {
		value := []byte(name)
		facts = append(facts,
			backplane.Fact{Client: name, Kind: backplane.FactMetadata, Value: value, TTL: long},
			backplane.Fact{Client: "c", Kind: backplane.FactTopic, Name: name, Value: value, TTL: long})
	}
	e.put(l, facts...)
	e.wantFacts(other, facts...)
	for _, name := range oddNames() {
		e.compareFacts(e.facts(other, name), metadata(name, name, backplane.Position{}))
	}
}

// nameNodes uses the few odd names of nodes that a broker could come to make of
// what an application calls its nodes.
func nameNodes(e *env) {
	l, other := e.node(), e.node()
	from := e.bounds(l).First
	e.renew(other, "o", long)
	nodes := []string{"n", "N", "n.1", "n-1", "n_1", "n 1", "n:1", "n/1", "é", "*", ">"}
	var sessions []backplane.Session
	for _, node := range nodes {
		p := &producer{e: e, log: l, id: node}
		p.publish(node)
		_, err := publish(e.ctx, other, p.last)
		e.must(err, "Publish again by %q", node)
		e.renew(l, node, long)
		s := session("s of "+node, "c", node)
		e.add(l, s)
		sessions = append(sessions, s)
	}
	if got := texts(e.readAll(l, from)); !slices.Equal(got, nodes) {
		e.Fatalf("published by %q: %q", nodes, got)
	}
	e.wantSessions(other, sessions...)
	for i, node := range nodes {
		e.release(l, node)
		e.wantDebts("of "+node, e.drain(other, "o", 10), endedDebts(sessions[i]))
	}
}

func nameInvalid(e *env) {
	bus := e.h.New(e.T)
	for _, name := range []string{"", "\xff", "a\xc3", strings.Repeat("x", 1025)} {
		cfg := e.cfg
		cfg.Namespace = name
		if l, err := bus.Open(e.ctx, cfg); err == nil {
			e.Errorf("namespace %q is accepted", clip(name))
			_ = l.Close(e.ctx)
		}
	}
	for _, change := range []func(*backplane.Config){
		func(c *backplane.Config) { c.RetentionAge = 0 },
		func(c *backplane.Config) { c.RetentionBytes = 0 },
		func(c *backplane.Config) { c.IdempotencyWindow = 0 },
		func(c *backplane.Config) { c.ResumeGrace = -1 },
	} {
		cfg := e.cfg
		change(&cfg)
		if l, err := bus.Open(e.ctx, cfg); err == nil {
			e.Errorf("configuration %+v is accepted", cfg)
			_ = l.Close(e.ctx)
		}
	}
}
