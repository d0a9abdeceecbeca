package sse_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sseplane/sseplane/sse"
)

// decoded is all that a stream says to a reader.
type decoded struct {
	Messages []sse.Message
	Comments []string
	LastID   string
	Retry    time.Duration
	HasRetry bool
	Err      error
}

func decode(r io.Reader, options ...sse.DecoderOption) decoded {
	var got decoded
	options = append(options, sse.WithCommentHook(func(c string) { got.Comments = append(got.Comments, c) }))
	d := sse.NewDecoder(r, options...)
	for {
		m, err := d.Next()
		if err != nil {
			got.Err = err
			break
		}
		got.Messages = append(got.Messages, m)
	}
	got.LastID = d.LastEventID()
	got.Retry, got.HasRetry = d.Retry()
	return got
}

func (a decoded) equal(b decoded) bool {
	return slices.Equal(a.Messages, b.Messages) && slices.Equal(a.Comments, b.Comments) && a.LastID == b.LastID &&
		a.Retry == b.Retry && a.HasRetry == b.HasRetry && (a.Err == b.Err || errors.Is(a.Err, errors.Unwrap(b.Err)))
}

func data(lines ...string) []sse.Message {
	var ms []sse.Message
	for _, l := range lines {
		ms = append(ms, sse.Message{Data: l})
	}
	return ms
}

// The rules of HTML 9.2.5 and 9.2.6, each with an input that shows it.
var standard = []struct {
	rule, in string
	want     decoded
}{
	{"an event is dispatched at a blank line", "data: a\n\n", decoded{Messages: data("a")}},
	{"LF ends a line", "data: a\n\ndata: b\n\n", decoded{Messages: data("a", "b")}},
	{"CR ends a line", "data: a\r\rdata: b\r\r", decoded{Messages: data("a", "b")}},
	{"CRLF ends a line", "data: a\r\n\r\ndata: b\r\n\r\n", decoded{Messages: data("a", "b")}},
	{"line ends may be mixed", "data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\r", decoded{Messages: data("a\nb\nc", "d")}},
	{"LF CR is two line ends", "data: a\n\rdata: b\n\n", decoded{Messages: data("a", "b")}},
	{"one leading byte order mark is dropped", "\uFEFFdata: a\n\n", decoded{Messages: data("a")}},
	{"a second byte order mark is part of the name", "\uFEFF\uFEFFdata: a\n\n", decoded{}},
	{"a later byte order mark is part of the name", "\n\uFEFFdata: a\n\n", decoded{}},
	{"nor is one behind an event dropped", "data: a\n\n\uFEFFdata: b\n\n", decoded{Messages: data("a")}},
	{"a byte order mark within a value stays", "data: \uFEFFa\n\n", decoded{Messages: data("\uFEFFa")}},
	{"a byte order mark may stand before a blank line", "\uFEFF\ndata: a\n\n", decoded{Messages: data("a")}},
	{"part of a byte order mark is not one", "\xEF\xBBdata: a\n\n", decoded{}},
	{"a line with a leading colon is a comment", ": a\n:b\n:\n::\n:  c\n", decoded{Comments: []string{"a", "b", "", ":", " c"}}},
	{"a comment does not end an event", "data: a\n: c\ndata: b\n\n", decoded{Messages: data("a\nb"), Comments: []string{"c"}}},
	{"one space after the colon is dropped", "data:a\n\ndata: b\n\ndata:  c\n\n", decoded{Messages: data("a", "b", " c")}},
	{"a tab after the colon stays", "data:\ta\n\n", decoded{Messages: data("\ta")}},
	{"only the first colon parts name and value", "data: a: b\n\n", decoded{Messages: data("a: b")}},
	{"a field without a colon has an empty value", "data\n\n", decoded{Messages: data("")}},
	{"lines of data are joined with LF", "data: a\ndata: b\ndata\ndata: c\n\n", decoded{Messages: data("a\nb\n\nc")}},
	{"two empty lines of data are one LF", "data\ndata\n\n", decoded{Messages: data("\n")}},
	{"empty data is dispatched", "data:\n\ndata: \n\n", decoded{Messages: data("", "")}},
	{"no data, no event", "event: x\n\nid: 1\n\n", decoded{LastID: "1"}},
	{"a block without data clears the type", "event: x\n\ndata: a\n\n", decoded{Messages: data("a")}},
	{"a dispatched event clears the type", "event: x\ndata: a\n\ndata: b\n\n",
		decoded{Messages: []sse.Message{{Event: "x", Data: "a"}, {Data: "b"}}}},
	{"the last type counts", "event: x\nevent: y\ndata: a\n\n", decoded{Messages: []sse.Message{{Event: "y", Data: "a"}}}},
	{"an empty type is no type", "event: x\nevent\ndata: a\n\n", decoded{Messages: data("a")}},
	{"the id is kept across events", "id: 1\ndata: a\n\ndata: b\n\n",
		decoded{Messages: []sse.Message{{ID: "1", Data: "a"}, {ID: "1", Data: "b"}}, LastID: "1"}},
	{"the id of a block without data counts", "id: 1\n\ndata: a\n\n",
		decoded{Messages: []sse.Message{{ID: "1", Data: "a"}}, LastID: "1"}},
	{"an empty id clears it", "id: 1\ndata: a\n\nid\ndata: b\n\n",
		decoded{Messages: []sse.Message{{ID: "1", Data: "a"}, {Data: "b"}}}},
	{"an id with NUL is ignored", "id: 1\n\nid: 2\x00\ndata: a\n\n",
		decoded{Messages: []sse.Message{{ID: "1", Data: "a"}}, LastID: "1"}},
	{"an id with NUL leaves the one before it", "id: 1\nid: \x00\ndata: a\n\n",
		decoded{Messages: []sse.Message{{ID: "1", Data: "a"}}, LastID: "1"}},
	{"the id of an unfinished block does not count", "id: 1\n\nid: 2\ndata: a\n", decoded{LastID: "1"}},
	{"NUL in data and type stays", "event: \x00\ndata: \x00\n\n", decoded{Messages: []sse.Message{{Event: "\x00", Data: "\x00"}}}},
	{"retry sets the time", "retry: 1500\ndata: a\n\n",
		decoded{Messages: []sse.Message{{Data: "a", Retry: 1500 * time.Millisecond}}, Retry: 1500 * time.Millisecond, HasRetry: true}},
	{"retry counts at once, without an event", "retry: 10\n", decoded{Retry: 10 * time.Millisecond, HasRetry: true}},
	{"retry may be 0", "retry: 0\n\n", decoded{HasRetry: true}},
	{"retry may have leading zeros", "retry: 0010\n\n", decoded{Retry: 10 * time.Millisecond, HasRetry: true}},
	{"retry takes digits only", "retry: 1s\nretry: -1\nretry: +1\nretry: 1.5\nretry:  1\nretry: 1 \nretry:\nretry\nretry: ١\n\n", decoded{}},
	{"retry does not overflow", "retry: 99999999999999999999999999\n\n", decoded{Retry: 1<<63 - 1, HasRetry: true}},
	{"other fields are ignored", "foo: 1\nfoo\n data: b\ndata : c\nDATA: d\ndata: a\n\n", decoded{Messages: data("a")}},
	{"an unfinished event is dropped", "data: a\n\ndata: b\n", decoded{Messages: data("a")}},
	{"an unfinished line is dropped", "data: a\n\ndata: b", decoded{Messages: data("a")}},
	{"an unfinished blank line is none", "data: a", decoded{}},
	{"blank lines alone say nothing", "\n\n\r\r\n\n", decoded{}},
	{"an empty stream says nothing", "", decoded{}},
	{"invalid UTF-8 becomes U+FFFD", "event: \xFF\nid: \xC0\ndata: a\xE2\x82\n: \xFE\n\n",
		decoded{Messages: []sse.Message{{ID: "\uFFFD", Event: "\uFFFD", Data: "a\uFFFD"}}, LastID: "\uFFFD", Comments: []string{"\uFFFD"}}},
	{"bytes that look like line ends to Unicode are none", "data: a\u0085b\u2028c\vd\fe\n\n", decoded{Messages: data("a\u0085b\u2028c\vd\fe")}},
}

func TestStandard(t *testing.T) {
	for _, tt := range standard {
		t.Run(tt.rule, func(t *testing.T) {
			tt.want.Err = io.EOF
			readers := map[string]io.Reader{
				"whole":        strings.NewReader(tt.in),
				"one byte":     iotest.OneByteReader(strings.NewReader(tt.in)),
				"halves":       iotest.HalfReader(strings.NewReader(tt.in)),
				"data and EOF": iotest.DataErrReader(strings.NewReader(tt.in)),
			}
			for name, r := range readers {
				if got := decode(r); !got.equal(tt.want) {
					t.Errorf("%s: %q\n got %+v\nwant %+v", name, tt.in, got, tt.want)
				}
			}
		})
	}
}

// The replacement of invalid bytes, by the decoder of the Encoding standard.
func TestReplacement(t *testing.T) {
	const x = "\uFFFD"
	tests := []struct{ in, want string }{
		{"a\x80b", "a" + x + "b"},
		{"\x80\x80", x + x},
		{"\xC0\xAF", x + x},
		{"\xC1\xBF", x + x},
		{"\xC3", x},
		{"\xC3(", x + "("},
		{"\xE2\x82", x},
		{"\xE2\x82z", x + "z"},
		{"\xE2\x82\xE2\x82\xAC", x + "€"},
		{"\xE0\x80\xAF", x + x + x},
		{"\xE0\xA0", x},
		{"\xED\xA0\x80", x + x + x},
		{"\xED\x9F\xBF", "\uD7FF"},
		{"\xF0\x80\x80\xAF", x + x + x + x},
		{"\xF0\x9F\x92", x},
		{"\xF0\x9F\x92\xA9", "💩"},
		{"\xF0\x9F\x92é", x + "é"},
		{"\xF4\x8F\xBF\xBF", "\U0010FFFF"},
		{"\xF4\x90\x80\x80", x + x + x + x},
		{"\xF5\x80", x + x},
		{"\xFE\xFF", x + x},
		{"a\uFFFDb", "a\uFFFDb"},
	}
	for _, tt := range tests {
		if got := decode(strings.NewReader("data: " + tt.in + "\n\n")); len(got.Messages) != 1 || got.Messages[0].Data != tt.want {
			t.Errorf("decoding %q: %+q, want %+q", tt.in, got.Messages, tt.want)
		}
		b, err := sse.NewBlock(sse.StringEvent{Data: tt.in})
		if want := "data: " + tt.want + "\n\n"; err != nil || string(b.Bytes) != want {
			t.Errorf("encoding %q: %+q, %v, want %+q", tt.in, b.Bytes, err, want)
		}
	}
}
