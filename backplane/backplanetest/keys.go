package backplanetest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sseplane/sseplane/backplane"
)

func keyChecks() []check {
	return []check{
		{"a key counts once", keyOnce},
		{"a key counts once from many nodes at once", keyConcurrent},
		{"a key counts once within a batch", keyWithinBatch},
		{"a batch of known keys appends nothing", keyAllKnown},
		{"a batch with known keys can be tried again", keyBatchAgain},
		{"keys are told apart", keyApart},
		{"messages without a key all count", keyNone},
	}
}

func withKey(key, data string) backplane.Message {
	return backplane.Message{Key: key, Data: []byte(data)}
}

func keyOnce(e *env) {
	l, other := e.node(), e.node()
	from := e.bounds(l).Last
	first := e.producer(l).send(withKey("k", "first"))
	p := e.producer(other)
	p.publish("between")
	for range 3 {
		if got := p.send(withKey("k", "another")); got[0] != first[0] {
			e.Fatalf("first at %v, again at %v", first[0], got[0])
		}
	}
	if got := texts(e.readAll(other, from)); !slices.Equal(got, []string{"first", "between"}) {
		e.Fatalf("the log has %q", got)
	}
}

func keyConcurrent(e *env) {
	logs := e.nodes(4)
	from := e.bounds(logs[0]).Last
	const each = 4
	for round := range e.heavy(20) {
		got := make([]backplane.Position, each*len(logs))
		producers := make([]*producer, len(got))
		for i := range producers {
			producers[i] = e.producer(logs[i%len(logs)])
		}
		e.together(len(got), func(i int) error {
			p := producers[i]
			key := withKey(fmt.Sprint("k", round), fmt.Sprint(round))
			positions, err := publish(e.ctx, p.log, p.batch(key))
			if err == nil {
				got[i] = positions[0]
			}
			return err
		})
		if same := slices.Compact(got); len(same) != 1 {
			e.Fatalf("one key has the positions %v", same)
		}
	}
	if got, want := texts(e.readAll(logs[1], from)), numbered("", e.heavy(20)); !slices.Equal(got, want) {
		e.Fatalf("the log has %q", got)
	}
}

func keyWithinBatch(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	got := e.producer(l).send(withKey("k", "a"), withKey("", "b"), withKey("k", "c"), withKey("j", "d"), withKey("k", "e"))
	if got[2] != got[0] || got[4] != got[0] {
		e.Errorf("positions of one key: %v, %v, %v", got[0], got[2], got[4])
	}
	entries := e.readAll(l, from)
	if !slices.Equal(texts(entries), []string{"a", "b", "d"}) {
		e.Errorf("the log has %q", texts(entries))
	}
	if want := []backplane.Position{got[0], got[1], got[3]}; !slices.Equal(places(entries), want) {
		e.Errorf("the log has positions %v, Publish returned %v", places(entries), got)
	}
}

func keyAllKnown(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	p := e.producer(l)
	first := p.send(withKey("a", "a"), withKey("b", "b"))
	second := p.send(withKey("b", "x"), withKey("a", "y"))
	if second[0] != first[1] || second[1] != first[0] {
		e.Fatalf("first %v, then in the other order %v", first, second)
	}
	p.publish("c")
	if got := texts(e.readAll(l, from)); !slices.Equal(got, []string{"a", "b", "c"}) {
		e.Fatalf("the log has %q", got)
	}
}

func keyBatchAgain(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	e.producer(l).send(withKey("a", "a"))
	p := e.producer(l)
	first := p.send(withKey("", "x"), withKey("a", "y"), withKey("b", "b"))
	again, err := publish(e.ctx, l, p.last)
	e.must(err, "Publish again")
	if !slices.Equal(again, first) {
		e.Fatalf("first %v, again %v", first, again)
	}
	if got := texts(e.readAll(l, from)); !slices.Equal(got, []string{"a", "x", "b"}) {
		e.Fatalf("the log has %q", got)
	}
}

func keyApart(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	keys := []string{
		"a", "A", "-", "_", "--", "a-b", "a_b", "ab", "0", "00", "1e3", "1000", "nil", "__proto__",
		strings.Repeat("x", 63), strings.Repeat("x", 64), strings.Repeat("x", 63) + "y",
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_",
	}
	p := e.producer(l)
	for range 2 {
		for _, key := range keys {
			p.send(withKey(key, key))
		}
	}
	if got := texts(e.readAll(l, from)); !slices.Equal(got, keys) {
		e.Fatalf("the log has %q", got)
	}
}

func keyNone(e *env) {
	l := e.node()
	from := e.bounds(l).Last
	p := e.producer(l)
	for range 3 {
		p.publish("same", "same")
	}
	if got := e.readAll(l, from); len(got) != 6 {
		e.Fatalf("the log has %q", texts(got))
	}
}
