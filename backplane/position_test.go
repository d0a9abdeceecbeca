package backplane

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestPositionText(t *testing.T) {
	for _, test := range []struct {
		p    Position
		text string
	}{
		{Position{}, ""},
		{Position{Epoch: "a"}, "~a.0"},
		{Position{Epoch: "0z", Seq: 35}, "~0z.z"},
		{Position{Epoch: "e", Seq: 36, Tag: 1}, "~e.10.1"},
		{Position{Epoch: "e", Tag: math.MaxUint16}, "~e.0.1ekf"},
		{Position{Epoch: strings.Repeat("z", 16), Seq: math.MaxUint64, Tag: 36}, "~zzzzzzzzzzzzzzzz.3w5e11264sgsf.10"},
	} {
		if got := test.p.String(); got != test.text {
			t.Errorf("%#v: got %q, want %q", test.p, got, test.text)
		}
		if got := string(test.p.Append([]byte("id: "))); got != "id: "+test.text {
			t.Errorf("%#v: appended as %q", test.p, got)
		}
		if test.p.IsZero() {
			continue
		}
		got, err := ParsePosition(test.text)
		if err != nil || got != test.p {
			t.Errorf("%q: got %#v, %v", test.text, got, err)
		}
	}
}

func TestParsePositionRefuses(t *testing.T) {
	for _, s := range []string{
		"", "~", "~a", "~a.", "~.1", "a.1", "~a.1.", "~a.1.0", "~a.1.1.1", "~a.01", "~a.1.01", "~a.+1", "~a.-1",
		"~a.1_0", "~a.A", "~A.1", "~a b.1", "~a.1 ", " ~a.1", "~a.1\n", "~a.3w5e11264sgsg", "~a.1.1ekg", "~é.1",
		"~" + strings.Repeat("a", 17) + ".1", "~a." + strings.Repeat("0", 100), "17", "~~a.1",
		"f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
	} {
		got, err := ParsePosition(s)
		if !errors.Is(err, ErrMalformedPosition) || got != (Position{}) {
			t.Errorf("%q: got %#v, %v", s, got, err)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("%q: the error has %d bytes", s, len(err.Error()))
		}
	}
}

func TestSameHistory(t *testing.T) {
	p := Position{Epoch: "e", Seq: 7, Tag: 3}
	for _, test := range []struct {
		q    Position
		want bool
	}{
		{p, true},
		{Position{Epoch: "e", Seq: 7}, true},
		{Position{Epoch: "e", Seq: 7, Tag: 4}, false},
		{Position{Epoch: "e", Seq: 8, Tag: 4}, true},
		{Position{Epoch: "f", Seq: 7, Tag: 3}, false},
		{Position{}, false},
	} {
		if got := p.SameHistory(test.q); got != test.want {
			t.Errorf("%v and %v: %v", p, test.q, got)
		}
		if got := test.q.SameHistory(p); got != test.want {
			t.Errorf("%v and %v: %v", test.q, p, got)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"", "~a.0", "~e.10.1", "~zzzzzzzzzzzzzzzz.3w5e11264sgsf.1ekf", "~a.01", "~A.1", "id"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePosition(s)
		if err != nil {
			if !errors.Is(err, ErrMalformedPosition) || !p.IsZero() {
				t.Fatalf("%q: %#v, %v", s, p, err)
			}
			return
		}
		if p.IsZero() || p.String() != s {
			t.Fatalf("%q parsed as %#v, which is %q", s, p, p)
		}
	})
}

func FuzzPositionRoundTrip(f *testing.F) {
	f.Add("a", uint64(0), uint16(0))
	f.Add("0123456789abcdez", uint64(math.MaxUint64), uint16(math.MaxUint16))
	f.Fuzz(func(t *testing.T, epoch string, seq uint64, tag uint16) {
		p := Position{Epoch: epoch, Seq: seq, Tag: tag}
		if !validEpoch(epoch) {
			return
		}
		got, err := ParsePosition(p.String())
		if err != nil || got != p {
			t.Fatalf("%#v is %q, parsed as %#v, %v", p, p, got, err)
		}
	})
}
