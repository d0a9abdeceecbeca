package redisbus

import (
	"errors"
	"reflect"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
)

func element(id, prev, n, data string) redis.XMessage {
	return redis.XMessage{ID: id, Values: map[string]any{"e": "abc " + prev + " 0 " + n + "\n" + data}}
}

func TestParseChunk(t *testing.T) {
	good := element("12-0", "9", "2", "\x00\x00\x00\x01a\x00\x00\x00\x00")
	c, ok := parseChunk(good, nil)
	if !ok || c.prev != 9 || len(c.entries) != 2 || c.first().Seq != 11 || c.last().Seq != 12 ||
		string(c.entries[0].Data) != "a" || c.entries[1].Data == nil || len(c.entries[1].Data) != 0 {
		t.Errorf("%+v, %t", c, ok)
	}
	for name, m := range map[string]redis.XMessage{
		"second part of the id":  element("12-1", "9", "1", "\x00\x00\x00\x00"),
		"not a number":           element("12-0", "x", "1", "\x00\x00\x00\x00"),
		"overlaps":               element("12-0", "11", "2", "\x00\x00\x00\x00\x00\x00\x00\x00"),
		"behind itself":          element("12-0", "12", "1", "\x00\x00\x00\x00"),
		"no entries":             element("12-0", "9", "0", ""),
		"too many":               element("12-0", "1", "4294967295", "\x00\x00\x00\x00"),
		"data too short":         element("12-0", "9", "1", "\x00\x00\x00\x02a"),
		"data too long":          element("12-0", "9", "1", "\x00\x00\x00\x01ab"),
		"cut in a length":        element("12-0", "9", "1", "\x00\x00"),
		"somebody else's fields": {ID: "12-0", Values: map[string]any{"a": "b"}},
		"one field too many":     {ID: "12-0", Values: map[string]any{"e": good.Values["e"], "f": ""}},
		"no end of the head":     {ID: "12-0", Values: map[string]any{"e": "abc 9 0 1"}},
		"none":                   {ID: "12-0"},
	} {
		if c, ok := parseChunk(m, nil); ok {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func FuzzParseChunk(f *testing.F) {
	f.Add("12-0", "9", "2", "\x00\x00\x00\x01a\x00\x00\x00\x00")
	f.Fuzz(func(t *testing.T, id, prev, n, data string) {
		c, ok := parseChunk(element(id, prev, n, data), nil)
		if !ok {
			return
		}
		last := c.prev
		for _, e := range c.entries {
			if e.Position.Seq <= last || e.Data == nil {
				t.Fatalf("%+v", c)
			}
			last = e.Position.Seq
		}
	})
}

func TestChain(t *testing.T) {
	at := backplane.Position{Epoch: "abc", Seq: 10}
	lost := backplane.Position{Epoch: "abc", Seq: 11}
	other := backplane.Position{Epoch: "old", Seq: 11}
	for _, c := range []struct {
		name        string
		prev, first uint64
		n           int
		epoch       string
		acked       *backplane.Position
		want        error
		behind      int
	}{
		{"the next", 10, 13, 2, "abc", nil, nil, 2},
		{"the next, with the one acknowledged in it", 10, 11, 2, "abc", &lost, nil, 2},
		{"the next, but one that was acknowledged is not there", 10, 13, 2, "abc", &lost, backplane.ErrEpoch, 0},
		{"the next, one of another epoch was acknowledged", 10, 13, 2, "abc", &other, nil, 2},
		{"the rest of a chunk", 5, 9, 4, "abc", nil, nil, 2},
		{"trimmed", 12, 13, 1, "abc", nil, backplane.ErrTrimmed, 0},
		{"another one was here", 8, 13, 1, "abc", nil, backplane.ErrEpoch, 0},
		{"another epoch", 10, 13, 1, "new", nil, backplane.ErrEpoch, 0},
	} {
		ck := chunk{prev: c.prev}
		for i := range c.n {
			ck.entries = append(ck.entries, backplane.Entry{Position: backplane.Position{Epoch: c.epoch, Seq: c.first + uint64(i)}})
		}
		l := chain{at: at}
		behind, err := l.next(&ck, c.acked)
		if !errors.Is(err, c.want) || len(behind) != c.behind {
			t.Errorf("%s: %d entries, %v", c.name, len(behind), err)
		}
		if want := ck.last(); err == nil && l.at != want || err != nil && l.at != at {
			t.Errorf("%s: at %v", c.name, l.at)
		}
	}
}

func TestParsePositions(t *testing.T) {
	p := func(epoch string, seq uint64) backplane.Position { return backplane.Position{Epoch: epoch, Seq: seq} }
	got, err := parsePositions("a.1+2 b.7 a.3", 4)
	want := []backplane.Position{p("a", 1), p("a", 2), p("b", 7), p("a", 3)}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"", "a", "a.", "a.x", "a.1+", "a.1+0", "a.1+-1", "a.1+9", "a.1 a.2 a.3 a.4 a.5", "a.1"} {
		if got, err := parsePositions(text, 4); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzParsePositions(f *testing.F) {
	f.Add("a.1+2 b.7", 3)
	f.Fuzz(func(t *testing.T, text string, n int) {
		n = max(0, min(n, 1000))
		if got, err := parsePositions(text, n); err == nil && len(got) != n {
			t.Fatal(got)
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add("s1", "0001c0001n10001x0001t")
	f.Fuzz(func(t *testing.T, field, record string) {
		_, _ = parseDebt(field, record)
		_, _, _ = parseFact("c", field, record)
	})
}

func TestSessionRecord(t *testing.T) {
	s := backplane.Session{ID: "i", Client: "c\x00 ü", Node: "n", NodeName: "", Topics: []string{"0001x", "\n"}}
	got, err := parseSession(s.ID, frame(s.Client)+frame(s.Node)+"1"+sessionRest(&s))
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestEncode(t *testing.T) {
	for name, want := range map[string]string{
		"plain-1.x": "plain-1.x", "a{b}c": "a%7Bb%7Dc", "100%": "100%25", "a b\n*": "a%20b%0A%2A", "ü": "ü",
	} {
		if got := encode(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
