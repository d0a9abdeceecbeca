package natsbus

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/sseplane/sseplane/backplane"
)

func FuzzFrame(f *testing.F) {
	batch := frame{kind: frameBatch, tag: 7, number: 300, part: 2, data: [][]byte{[]byte("a"), {}, bytes.Repeat([]byte{0}, 300)}}
	mark := frame{kind: frameBeat, tag: 1}
	f.Add(batch.bytes())
	f.Add(mark.bytes())
	f.Add([]byte("sse\x02rest"))
	f.Add([]byte("sse\x01\x01\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseFrame(b)
		if err != nil {
			if !errors.Is(err, errForeign) && !errors.Is(err, errVersion) {
				t.Fatal(err)
			}
			return
		}
		again, err := parseFrame(got.bytes())
		if err != nil {
			t.Fatal(err)
		}
		if again.kind != got.kind || again.tag != got.tag || again.number != got.number || again.part != got.part || !slices.EqualFunc(again.data, got.data, bytes.Equal) {
			t.Fatalf("%+v became %+v", got, again)
		}
		for _, d := range got.data {
			if d == nil {
				t.Fatal("an entry of ours without data")
			}
		}
	})
}

func TestPlace(t *testing.T) {
	for _, seq := range []uint64{1, 2, 1000, math.MaxUint64 >> seqShift} {
		for _, behind := range []int{0, 1, 17, maxEntries - 1} {
			number := place(seq, behind)
			if gotSeq, gotBehind := message(number); gotSeq != seq || gotBehind != behind {
				t.Errorf("message(place(%d, %d)) = %d, %d", seq, behind, gotSeq, gotBehind)
			}
			if number <= place(seq-1, 0) {
				t.Errorf("place(%d, %d) is not behind the message before", seq, behind)
			}
		}
	}
	if seq, behind := message(math.MaxUint64); seq != 1<<(64-seqShift) || behind != 1 {
		t.Errorf("message(max) = %d, %d", seq, behind)
	}
}

func TestToken(t *testing.T) {
	long := strings.Repeat("x", maxToken)
	seen := make(map[string]string)
	for _, name := range []string{"a", "A", "a.b", "a_2eb", "a b", "a*", ">", "ü", "\x00", "a\nb", "_", "__", "-", long, long + "x", long + "y", strings.Repeat(".", 1024)} {
		got := token(name)
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q are both %q", name, other, got)
		}
		seen[got] = name
		if len(got) > maxToken || got == "" || strings.ContainsAny(got, ". *>\r\n\t/\\") {
			t.Errorf("token(%q) = %q", name, got)
		}
	}
}

// TestStateSurvives: a register read from a snapshot is the one that was written.
func TestStateSurvives(t *testing.T) {
	s := newState()
	at := int64(1)
	do := func(c command) result {
		c.Grace, c.Keep = 10, 1000
		at += 5
		return s.apply(&c, fromNanos(at))
	}
	for _, node := range []string{"a", "b", "c"} {
		do(command{Op: opRenew, Node: node, TTL: 100})
		do(command{Op: opUpdate, Node: node, Add: []sessionJSON{{ID: node + "1", Client: "x", Topics: []string{"t"}}, {ID: node + "2", Client: node, Name: "N"}}})
	}
	do(command{Op: opUpdate, Node: "a", End: []string{"a2"}})
	do(command{Op: opRelease, Node: "b"})
	do(command{Op: opCollect, ID: "first", Node: "c", Max: 1})
	do(command{Op: opPut, Facts: []factJSON{{Client: "x", Kind: 1, Value: []byte{}, TTL: 50}, {Client: "x", Kind: 2, Name: "t", Version: "~e.1", TTL: 500}}})
	do(command{Op: opCollect, ID: "second", Node: "c", Max: 2})
	data, err := s.encode()
	if err != nil {
		t.Fatal(err)
	}
	other, err := decodeState(data)
	if err != nil {
		t.Fatal(err)
	}
	// Whatever comes next does the same to both.
	for _, c := range []command{
		{Op: opCollect, ID: "third", Node: "c", Max: 10, Redo: []string{"second"}},
		{Op: opUpdate, Node: "a", Add: []sessionJSON{{ID: "a2", Client: "a"}, {ID: "a3", Client: "a"}}, End: []string{"a1", "a2"}},
		{Op: opRenew, Node: "b", TTL: 1},
		{Op: opSettle, Node: "c", Debts: []debtKey{{backplane.SessionEnded, "b1"}}},
		{Op: opCollect, ID: "fourth", Node: "c", Max: 10},
	} {
		c.Grace, c.Keep = 10, 1000
		at += 5
		want, got := s.apply(&c, fromNanos(at)), other.apply(&c, fromNanos(at))
		if !errors.Is(got.err, want.err) || !slices.Equal(got.update.Joined, want.update.Joined) ||
			!slices.EqualFunc(got.debts, want.debts, sameDebt) || !slices.EqualFunc(got.update.Ended, want.update.Ended, sameDebt) ||
			len(got.update.Facts) != len(want.update.Facts) {
			t.Errorf("%s: got %+v, want %+v", c.Op, got, want)
		}
		if c.Op == opCollect && c.ID == "third" && len(want.debts) < 2 {
			t.Errorf("what was never heard of is not returned: %+v", want.debts)
		}
	}
	for _, name := range []string{"x", "a", "b", "c", "nobody"} {
		if got, want := other.presence(name), s.presence(name); got != want {
			t.Errorf("presence of %s: %v, want %v", name, got, want)
		}
	}
}

func sameDebt(a, b backplane.Debt) bool {
	return a.Kind == b.Kind && a.Session.ID == b.Session.ID && a.Session.Client == b.Session.Client &&
		a.Session.Node == b.Session.Node && slices.Equal(a.Session.Topics, b.Session.Topics)
}
