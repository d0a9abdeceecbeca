package sse_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sseplane/sseplane/sse"
)

// pieces hands out a stream in reads whose sizes are given, then one byte at a time.
type pieces struct {
	rest  []byte
	sizes []byte
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := 1
	if len(p.sizes) > 0 {
		n, p.sizes = int(p.sizes[0]), p.sizes[1:]
	}
	n = copy(b, p.rest[:min(n, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}

// plainly is a stream of events that are plain, and of some that are nearly so.
const plainly = "id: 0123456789\n\ndata: a\n\n" +
	"id: 1\nevent: x\ndata: a\n\nid: 2\nevent: x\ndata: a\n\nevent: xx\nid: 3\ndata: a\n\nid: 4\nevent: y\ndata: a\ndata: b\n\n" +
	"data: a\nid: 5\nevent: x\n\ndata: a\nid: 6\ndata: b\n\nid: 7\x00\ndata: a\n\nretry: 5\n\ndata: a\nevent: y\nevent: x\n\nid: 8\nevent: x\n\n" +
	"id: 8\ndata: a\n\n: c\nid: 9\ndata: b\n\nid: 10\nevent: x\ndata\ndata: a\n\nid: 11\nevent: y\nevent: y\ndata: b\n\nid: 12\nevent: x\ndata: a"

func FuzzDecode(f *testing.F) {
	for _, tt := range standard {
		f.Add([]byte(tt.in), []byte{1, 0, 3, 2}, 8, 16)
	}
	f.Add([]byte(strings.Repeat("data: 0123456789abcdef\r\n", 400)+"\r\n"), []byte{255, 1, 255}, 0, 0)
	f.Add([]byte("data: x\n\n"+plainly), []byte{60, 3, 200}, 0, 0)
	f.Add([]byte("\n"+plainly+strings.ReplaceAll(plainly, "a", "é")+strings.ReplaceAll(plainly, "b", "\xFF")), []byte{9}, 30, 60)
	f.Fuzz(func(t *testing.T, in, sizes []byte, line, event int) {
		whole := decode(bytes.NewReader(in), sse.WithLimits(line, event))
		if again := decode(&pieces{in, sizes}, sse.WithLimits(line, event)); !whole.equal(again) {
			t.Fatalf("in one: %+v\nin pieces: %+v", whole, again)
		}
		if model := modelDecode(in); line <= 0 && event <= 0 && !whole.equal(model) {
			t.Fatalf("got %+v\nwant %+v", whole, model)
		}
		for _, m := range whole.Messages {
			if !utf8.ValidString(m.ID + m.Event + m.Data) {
				t.Fatalf("invalid UTF-8 in %+v", m)
			}
			// What was decoded can be sent on, and arrives the same.
			b, err := sse.NewBlock(sse.StringEvent{Id: m.ID, Event: m.Event, Data: m.Data})
			if err != nil {
				t.Fatalf("%+v: %v", m, err)
			}
			m.Retry = 0
			again := decode(bytes.NewReader(append(sse.AppendID(nil, b.ID), b.Bytes...)))
			if len(again.Messages) != 1 || again.Messages[0] != m {
				t.Fatalf("%+v came back as %+v", m, again.Messages)
			}
		}
	})
}

// modelDecode is the standard's algorithm written down naively, to check the fast one against.
func modelDecode(in []byte) decoded {
	got := decoded{Err: io.EOF}
	s := strings.TrimPrefix(string(in), "\uFEFF")
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(s, "\n")
	var data, event, id, lastID strings.Builder
	var setRetry time.Duration
	for _, line := range lines[:len(lines)-1] {
		name, value, colon := strings.Cut(line, ":")
		value = modelUTF8(strings.TrimPrefix(value, " "))
		switch {
		case line == "":
			lastID = id
			got.LastID = id.String()
			if data.Len() > 0 {
				got.Messages = append(got.Messages, sse.Message{ID: lastID.String(), Event: event.String(),
					Data: strings.TrimSuffix(data.String(), "\n"), Retry: setRetry})
				setRetry = 0
			}
			data, event = strings.Builder{}, strings.Builder{}
		case colon && name == "":
			got.Comments = append(got.Comments, value)
		case name == "data":
			data = build(data.String() + value + "\n")
		case name == "event":
			event = build(value)
		case name == "id" && !strings.Contains(value, "\x00"):
			id = build(value)
		case name == "retry" && value != "" && strings.Trim(value, "0123456789") == "":
			got.Retry, got.HasRetry = modelRetry(value), true
			setRetry = got.Retry
		}
	}
	return got
}

func build(s string) strings.Builder {
	var b strings.Builder
	b.WriteString(s)
	return b
}

func modelRetry(digits string) time.Duration {
	digits = strings.TrimLeft(digits, "0")
	if len(digits) > 13 || len(digits) == 13 && digits > "9223372036854" {
		return 1<<63 - 1
	}
	var ms time.Duration
	for _, c := range digits {
		ms = ms*10 + time.Duration(c-'0')
	}
	return ms * time.Millisecond
}

// modelUTF8 finds by trial how much of the rest is the start of some valid sequence.
func modelUTF8(s string) string {
	var out strings.Builder
	for len(s) > 0 {
		if r, n := utf8.DecodeRuneInString(s); r != utf8.RuneError || n > 1 {
			out.WriteString(s[:n])
			s = s[n:]
			continue
		}
		n := 1
		for n < len(s) && n < 3 && begins(s[:n+1]) {
			n++
		}
		out.WriteRune(utf8.RuneError)
		s = s[n:]
	}
	return out.String()
}

func begins(s string) bool {
	for _, end := range []string{"\x80", "\x8F", "\x90", "\x9F", "\xA0", "\xBF"} {
		for _, more := range []string{"", "\x80"} {
			if r, n := utf8.DecodeRuneInString(s + end + more); n > len(s) && r != utf8.RuneError {
				return true
			}
		}
	}
	return false
}

func FuzzEncode(f *testing.F) {
	f.Add("1", "x", "a\nb", "c", int64(5))
	f.Add("", "", "", "", int64(0))
	f.Add("\r", "\n", "\r\n\r", "\r\r", int64(-1))
	f.Add("\xFF", " :", "id: 1\n\n", "\n", int64(time.Hour))
	f.Fuzz(func(t *testing.T, id, event, data, comment string, retry int64) {
		for _, e := range []sse.Event{
			sse.Message{ID: id, Event: event, Data: data, Comment: comment, Retry: time.Duration(retry)},
			sse.StringEvent{Id: id, Event: event, Data: data},
			&sse.JsonEvent{Id: id, Event: event, Data: data},
		} {
			b, err := sse.NewBlock(e)
			if err != nil {
				continue
			}
			if !sse.ValidBlock(b.Bytes) {
				t.Fatalf("%#v: not valid: %q", e, b.Bytes)
			}
			stream := b.Bytes
			if b.ID != "" {
				stream = append(sse.AppendID(nil, b.ID), b.Bytes...)
			}
			got := decode(bytes.NewReader(stream))
			if b.HasData != (len(got.Messages) == 1) || len(got.Messages) > 1 {
				t.Fatalf("%#v: HasData %v, decoded %+v", e, b.HasData, got)
			}
			if got.LastID != modelUTF8(id) || b.ID != got.LastID {
				t.Fatalf("%#v: id %q", e, got.LastID)
			}
			if b.HasData {
				m := got.Messages[0]
				if m.Event != modelUTF8(event) || m.Data != wire(e.GetData()) {
					t.Fatalf("%#v: decoded %+v", e, m)
				}
			}
			m, ok := e.(sse.Message)
			if !ok {
				continue
			}
			if c := strings.Join(got.Comments, "\n"); m.Comment != "" && c != wire(m.Comment) {
				t.Fatalf("%#v: comment %q", e, c)
			}
			if d := got.Retry - m.Retry; d < 0 || d >= time.Millisecond {
				if got.Retry != 1<<63-1 {
					t.Fatalf("%#v: retry %v", e, got.Retry)
				}
			}
		}
	})
}

// wire is what a text becomes on its way.
func wire(s string) string {
	return modelUTF8(strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n"))
}

// A foreign Prepare can say what it likes: what comes out is one block, with the fields that a reader of its bytes
// would have seen.
func FuzzForeign(f *testing.F) {
	for _, tt := range standard {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if in == "panic" {
			return
		}
		b, err := sse.NewBlock(foreign(in))
		if err != nil {
			return
		}
		if !sse.ValidBlock(b.Bytes) {
			t.Fatalf("not valid: %q", b.Bytes)
		}
		want, got := decode(strings.NewReader(in)), decode(bytes.NewReader(b.Bytes))
		if got.LastID != "" || b.ID != want.LastID || len(got.Messages) != len(want.Messages) {
			t.Fatalf("%q became %q with id %q", in, b.Bytes, b.ID)
		}
		for i, m := range want.Messages {
			if g := got.Messages[i]; g.Event != m.Event || g.Data != m.Data {
				t.Fatalf("%q became %q", in, b.Bytes)
			}
		}
	})
}

func FuzzValidBlock(f *testing.F) {
	for _, s := range []string{"data: a\n\n", ": a\nretry: 1\nevent: x\ndata: a\n\n", "id: 1\n\n", "data: a\n\n\n", "\n\n", "data: a\rid: 1\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !sse.ValidBlock(b) {
			return
		}
		// A block that is let through says the same wherever it stands, and nothing about the id.
		stream := append([]byte("id: 1\n"), b...)
		stream = append(stream, "data: next\n\n"...)
		got := decode(bytes.NewReader(stream))
		if n := len(got.Messages); n < 1 || n > 2 || got.LastID != "1" || got.Messages[n-1].Data != "next" || got.Messages[n-1].Event != "" {
			t.Fatalf("%q: %+v", b, got)
		}
	})
}
