package backplanetest

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

func factsChecks() []check {
	return []check{
		{"come back as they were put", factsBack},
		{"of clients, kinds and names are told apart", factsApart},
		{"without a version the last one stays", factsUnversioned},
		{"the newer version stays", factsVersion},
		{"a value alone keeps the version", factsValueAlone},
		{"the version of the present epoch is newer", factsEpoch},
		{"are forgotten after their time", factsTTL},
		{"an older put makes them last", factsOlderPutExtends},
		{"an older put may shorten their time", factsOlderPutShortens},
		{"of the same kind in one call", factsTwice},
		{"many and large", factsMany},
		{"newer versions stay when many nodes write", factsConcurrent},
	}
}

func metadata(client, value string, version backplane.Position) backplane.Fact {
	return backplane.Fact{
		Client: client, Kind: backplane.FactMetadata, Value: []byte(value), Version: version, TTL: long,
	}
}

func (e *env) put(l backplane.Log, facts ...backplane.Fact) {
	e.Helper()
	e.must(l.Put(e.ctx, facts), "Put")
}

func (e *env) facts(l backplane.Log, clients ...string) []backplane.Fact {
	e.Helper()
	facts, err := l.Facts(e.ctx, clients...)
	e.must(err, "Facts")
	return facts
}

// wantFacts checks all facts of the clients that want names, and of c.
func (e *env) wantFacts(l backplane.Log, want ...backplane.Fact) {
	e.Helper()
	clients := []string{"c"}
	for _, f := range want {
		clients = append(clients, f.Client)
	}
	slices.Sort(clients)
	e.compareFacts(e.facts(l, slices.Compact(clients)...), want...)
}

func (e *env) compareFacts(got []backplane.Fact, want ...backplane.Fact) {
	e.Helper()
	order := func(a, b backplane.Fact) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	}
	same := func(a, b backplane.Fact) bool {
		return order(a, b) == 0 && bytes.Equal(a.Value, b.Value) && a.Version == b.Version
	}
	if !slices.EqualFunc(slices.SortedFunc(slices.Values(got), order), slices.SortedFunc(slices.Values(want), order), same) {
		e.Fatalf("facts:\n got %+v,\nwant %+v", got, want)
	}
}

func factsBack(e *env) {
	l, other := e.node(), e.node()
	e.wantFacts(l)
	v := e.producer(l).publish("a")[0]
	facts := []backplane.Fact{
		metadata("c", `{"name":"é"}`, v),
		{Client: "c", Kind: backplane.FactTopic, Name: "a topic", Value: []byte{0, 255, '\n'}, TTL: long},
		{Client: "c", Kind: backplane.FactDisconnect, TTL: long, Version: v},
	}
	e.put(l, facts...)
	e.wantFacts(other, facts...)
	for _, f := range e.facts(other, "c") {
		if f.TTL != 0 {
			e.Errorf("a TTL of %v is returned", f.TTL)
		}
	}
	if got := e.facts(other); len(got) != 0 {
		e.Errorf("facts of nobody: %+v", got)
	}
	data := []byte("before")
	e.put(l, backplane.Fact{Client: "d", Kind: backplane.FactMetadata, Value: data, TTL: long})
	copy(data, "after!")
	e.wantFacts(other, append(facts, metadata("d", "before", backplane.Position{}))...)
}

func factsApart(e *env) {
	l := e.node()
	var facts []backplane.Fact
	for _, client := range []string{"c", "C", "c ", "c:1", "c.1", "1", "2", "3"} {
		for kind := backplane.FactMetadata; kind <= backplane.FactDisconnect; kind++ {
			for _, name := range []string{"", "a", "A", "a b", "1:a", "*", ":", "\x00"} {
				value := []byte(fmt.Sprintf("%s/%d/%q", client, kind, name))
				facts = append(facts, backplane.Fact{Client: client, Kind: kind, Name: name, Value: value, TTL: long})
			}
		}
	}
	e.put(l, facts...)
	e.wantFacts(l, facts...)
	e.compareFacts(e.facts(l, "1", "nobody"), slices.DeleteFunc(facts, func(f backplane.Fact) bool { return f.Client != "1" })...)
}

func factsUnversioned(e *env) {
	l, other := e.node(), e.node()
	for _, value := range []string{"a", "b", "", "c", "c"} {
		e.put(l, metadata("c", value, backplane.Position{}))
		e.wantFacts(other, metadata("c", value, backplane.Position{}))
		l, other = other, l
	}
}

// at is a position of the present epoch; nothing needs to stand there.
func (e *env) at(l backplane.Log, seq uint64) backplane.Position {
	e.Helper()
	return backplane.Position{Epoch: e.bounds(l).Epoch, Seq: seq}
}

func factsVersion(e *env) {
	l, other := e.node(), e.node()
	low, middle, high := e.at(l, 9), e.at(l, 10), e.at(l, 1<<60)
	e.put(l, metadata("c", "none", backplane.Position{}))
	e.put(l, metadata("c", "middle", middle))
	e.wantFacts(other, metadata("c", "middle", middle))
	e.put(other, metadata("c", "low", low))
	e.wantFacts(l, metadata("c", "middle", middle))
	e.put(other, metadata("c", "high", high))
	e.wantFacts(l, metadata("c", "high", high))
	e.put(l, metadata("c", "middle", middle))
	e.wantFacts(l, metadata("c", "high", high))
	e.put(l, metadata("c", "high", high)) // written again
	e.wantFacts(l, metadata("c", "high", high))
	// The same in one call.
	e.put(l, metadata("d", "middle", middle), metadata("d", "low", low))
	e.compareFacts(e.facts(l, "d"), metadata("d", "middle", middle))
}

func factsValueAlone(e *env) {
	l, other := e.node(), e.node()
	low, high := e.at(l, 5), e.at(l, 6)
	e.put(l, metadata("c", "told", high))
	e.put(other, metadata("c", "alone", backplane.Position{}))
	e.wantFacts(l, metadata("c", "alone", high))
	e.put(l, metadata("c", "older", low))
	e.wantFacts(l, metadata("c", "alone", high))
}

func factsEpoch(e *env) {
	l, other := e.node(), e.node()
	old := e.at(l, 1000)
	e.put(l, metadata("c", "old", old))
	e.newEpoch(l, old.Epoch)
	present := e.at(l, 1)
	e.put(other, metadata("c", "older", e.over(old, 999)))
	e.wantFacts(l, metadata("c", "old", old))
	e.put(l, metadata("c", "present", present))
	e.wantFacts(other, metadata("c", "present", present))
	e.put(other, metadata("c", "old", e.over(old, 1001)))
	e.wantFacts(l, metadata("c", "present", present))
}

// over returns p with another number.
func (*env) over(p backplane.Position, seq uint64) backplane.Position {
	p.Seq = seq
	return p
}

func factsTTL(e *env) {
	l, other := e.node(), e.node()
	short := metadata("c", "short", backplane.Position{})
	short.TTL = 2 * e.h.Tick
	stays := metadata("d", "stays", backplane.Position{})
	began := time.Now()
	e.put(l, short, stays)
	if got := e.facts(other, "c", "d"); len(got) != 2 && time.Since(began) < short.TTL {
		e.Fatalf("before their time is over: %+v", got)
	}
	e.eventually("the fact is forgotten", func() (bool, any) {
		got := e.facts(other, "c", "d")
		return len(got) == 1, got
	})
	e.notBefore("forgotten", began, short.TTL)
	e.wantFacts(l, stays)
	// What is forgotten has no version that could be newer.
	old := metadata("e", "high", e.at(l, 100))
	old.TTL = e.h.Tick
	e.put(l, old)
	e.eventually("the fact is forgotten", func() (bool, any) {
		got := e.facts(l, "e")
		return len(got) == 0, got
	})
	low := metadata("e", "low", e.at(l, 1))
	e.put(l, low)
	e.compareFacts(e.facts(l, "e"), low)
}

func factsOlderPutExtends(e *env) {
	l := e.node()
	// The second put must come while the first one lasts: on a slow machine that takes more time.
	for i, ttl := uint64(1), e.h.Tick; ; i, ttl = i+1, 2*ttl {
		newer := metadata("c", "newer", e.at(l, 10*i+1))
		newer.TTL = ttl
		older := metadata("c", "older", e.at(l, 10*i))
		began := time.Now()
		e.put(l, newer)
		e.put(l, older)
		if time.Since(began) >= ttl {
			continue
		}
		e.must(e.pause(3*ttl), "waiting for the end of the first one")
		e.wantFacts(l, newer)
		return
	}
}

func factsOlderPutShortens(e *env) {
	l := e.node()
	newer := metadata("c", "newer", e.at(l, 10))
	older := metadata("c", "older", e.at(l, 9))
	older.TTL = e.h.Tick
	e.put(l, newer)
	e.put(l, older)
	e.eventually("the fact is forgotten", func() (bool, any) {
		got := e.facts(l, "c")
		return len(got) == 0, got
	})
}

func factsTwice(e *env) {
	l := e.node()
	e.put(l, metadata("c", "a", backplane.Position{}), metadata("c", "b", backplane.Position{}))
	e.wantFacts(l, metadata("c", "b", backplane.Position{}))
	e.put(l, metadata("c", "v", e.at(l, 7)), metadata("c", "alone", backplane.Position{}))
	e.wantFacts(l, metadata("c", "alone", e.at(l, 7)))
}

func factsMany(e *env) {
	l, other := e.node(), e.node()
	var facts []backplane.Fact
	for i := range e.heavy(1000) {
		facts = append(facts, metadata(fmt.Sprint("c", i), strings.Repeat("x", i), backplane.Position{}))
	}
	e.put(l, facts...)
	e.wantFacts(other, facts...)
	large := metadata("large", strings.Repeat("0123456789abcdef", 4096), backplane.Position{})
	e.put(l, large)
	e.wantFacts(other, large)
	var topics []backplane.Fact
	for i := range e.heavy(300) {
		topics = append(topics, backplane.Fact{Client: "member", Kind: backplane.FactTopic, Name: fmt.Sprint("t", i), TTL: long})
	}
	e.put(l, topics...)
	e.wantFacts(other, topics...)
}

func factsConcurrent(e *env) {
	logs := e.nodes(4)
	epoch := e.bounds(logs[0]).Epoch
	n := e.heavy(40)
	e.together(len(logs), func(i int) error {
		for j := range n {
			seq := uint64(1 + (i+1)*7919*(j+1)%(4*n))
			fact := metadata("c", fmt.Sprint(seq), backplane.Position{Epoch: epoch, Seq: seq})
			if err := logs[i].Put(e.ctx, []backplane.Fact{fact}); err != nil {
				return err
			}
		}
		return nil
	})
	var highest uint64
	for i := range logs {
		for j := range n {
			highest = max(highest, uint64(1+(i+1)*7919*(j+1)%(4*n)))
		}
	}
	e.wantFacts(logs[0], metadata("c", fmt.Sprint(highest), backplane.Position{Epoch: epoch, Seq: highest}))
}
