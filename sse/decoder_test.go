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

func TestLimits(t *testing.T) {
	const line, event = 20, 40
	tests := []struct {
		name, in string
		events   int
		want     error
	}{
		{"longest line", "data: 12345678901234\n\n", 1, io.EOF},
		{"longest line, CRLF", "data: 12345678901234\r\n\r\n", 1, io.EOF},
		{"longest line behind a byte order mark", "\uFEFFdata: 12345678901234\n\n", 1, io.EOF},
		{"line too long", "data: 123456789012345\n\n", 0, sse.ErrLineTooLong},
		{"line without an end too long", "data: " + strings.Repeat("1", 1000), 0, sse.ErrLineTooLong},
		{"comment too long", ": " + strings.Repeat("1", 1000) + "\n\n", 0, sse.ErrLineTooLong},
		{"unknown field too long", strings.Repeat("1", 1000) + "\n\n", 0, sse.ErrLineTooLong},
		{"after an event", "data: a\n\ndata: 123456789012345\n\n", 1, sse.ErrLineTooLong},
		{"largest event", strings.Repeat("data: 1234567890123\n", 3)[:58] + "\n\n", 1, io.EOF},
		{"event too large", strings.Repeat("data: 1234567890123\n", 3) + "\n", 0, sse.ErrEventTooLarge},
		{"type and id count", "event: 12345678901\nid: 1234567890123456\ndata: 12345678901234\n\n", 0, sse.ErrEventTooLarge},
		{"replaced ids do not add up", strings.Repeat("id: 1234567890\n", 100) + "data: a\n\n", 1, io.EOF},
		{"comments do not add up", strings.Repeat(": 1234567890\n", 100) + "data: a\n\n", 1, io.EOF},
		{"empty data lines do add up", strings.Repeat("data\n", 100) + "\n", 0, sse.ErrEventTooLarge},
	}
	for _, tt := range tests {
		for _, r := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in))} {
			got := decode(r, sse.WithLimits(line, event))
			if !errors.Is(got.Err, tt.want) || len(got.Messages) != tt.events {
				t.Errorf("%s: %d events and error %v, want %d and %v", tt.name, len(got.Messages), got.Err, tt.events, tt.want)
			}
		}
	}
}

// endless is a stream that never stops; it counts what was taken of it.
type endless struct {
	pattern string
	read    int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.pattern[(e.read+i)%len(e.pattern)]
	}
	e.read += len(p)
	return len(p), nil
}

func TestEndlessInputIsBounded(t *testing.T) {
	for name, pattern := range map[string]string{"line": "x", "event": "data: xxxxxxx\n", "empty data": "data\n", "CR": "data\r"} {
		r := &endless{pattern: pattern}
		got := decode(r, sse.WithLimits(1<<20, 1<<20))
		if !errors.Is(got.Err, sse.ErrLineTooLong) && !errors.Is(got.Err, sse.ErrEventTooLarge) {
			t.Errorf("%s: %v", name, got.Err)
		}
		if r.read > 8<<20 {
			t.Errorf("%s: read %d bytes before giving up", name, r.read)
		}
	}
}

func TestErrorsAreKept(t *testing.T) {
	broken := errors.New("broken")
	d := sse.NewDecoder(io.MultiReader(strings.NewReader("id: 1\ndata: a\n\nid: 2\ndata: b\n"), iotest.ErrReader(broken)))
	if m, err := d.Next(); err != nil || m.Data != "a" {
		t.Fatal(m, err)
	}
	for range 3 {
		if _, err := d.Next(); err != broken {
			t.Fatalf("%v, want the reader's own error", err)
		}
	}
	if d.LastEventID() != "1" {
		t.Errorf("last event ID %q, want that of the complete event", d.LastEventID())
	}
}

type quiet struct{}

func (quiet) Read([]byte) (int, error) { return 0, nil }

func TestReaderWithoutProgress(t *testing.T) {
	if _, err := sse.NewDecoder(quiet{}).Next(); err != io.ErrNoProgress {
		t.Error(err)
	}
}

// A reader that would wait for ever after what was written: nothing may be read beyond the event's last byte.
func TestEventIsNotHeldBack(t *testing.T) {
	for _, in := range []string{"data: a\n\n", "data: a\r\r", "data: a\r\n\r", "data: a\n\r"} {
		r := io.MultiReader(strings.NewReader(in), iotest.ErrReader(errors.New("read too far")))
		if m, err := sse.NewDecoder(r).Next(); err != nil || m.Data != "a" {
			t.Errorf("%q: %v, %v", in, m, err)
		}
	}
}

func TestStartFromLastEventID(t *testing.T) {
	got := decode(strings.NewReader("data: a\n\nid: 2\ndata: b\n\n"), sse.WithLastEventID("1"))
	if len(got.Messages) != 2 || got.Messages[0].ID != "1" || got.Messages[1].ID != "2" {
		t.Errorf("%+v", got.Messages)
	}
}

func TestRetryOfMessageIsNotRepeated(t *testing.T) {
	got := decode(strings.NewReader("retry: 5\n\ndata: a\n\ndata: b\n\n"))
	if got.Messages[0].Retry != 5*time.Millisecond || got.Messages[1].Retry != 0 || got.Retry != 5*time.Millisecond {
		t.Errorf("%+v", got)
	}
}

// Values must not change when the buffers behind them are used again, whatever lies between the lines of an event.
func TestStringsAreCopies(t *testing.T) {
	var in strings.Builder
	var want []string
	for i := range 2000 {
		v := strings.Repeat(string(rune('a'+i%26)), 1+i*7%300)
		in.WriteString("data: " + v + "\n: " + v + "\nid: " + v + "\nevent: " + v + "\ndata: " + v + "\n\n")
		in.WriteString("id: " + v + "\nevent: " + v + "\ndata: " + v + "\ndata: " + v + "\n\n")
		want = append(want, v)
	}
	got := decode(iotest.HalfReader(strings.NewReader(in.String())))
	for i, m := range got.Messages {
		if v := want[i/2]; m != (sse.Message{ID: v, Event: v, Data: v + "\n" + v}) || got.Comments[i/2] != v {
			t.Fatalf("event %d: %+v, want %q", i, m, v)
		}
	}
	if len(got.Messages) != 2*len(want) {
		t.Errorf("%d events, want %d", len(got.Messages), 2*len(want))
	}
}

type countedReads struct {
	r io.Reader
	n int
}

func (c *countedReads) Read(p []byte) (int, error) {
	c.n++
	return c.r.Read(p)
}

func TestLargeEvents(t *testing.T) {
	long := strings.Repeat("é", 1<<20)
	lines := strings.Repeat("x\n", 1<<18)
	for _, want := range []string{long, lines, "small"} {
		b, err := sse.NewBlock(sse.StringEvent{Data: want})
		if err != nil {
			t.Fatal(err)
		}
		for _, eol := range []string{"\n", "\r\n", "\r"} {
			stream := strings.ReplaceAll(string(b.Bytes)+"data: next\n\n", "\n", eol)
			r := &countedReads{r: strings.NewReader(stream)}
			got := decode(r)
			if len(got.Messages) != 2 || got.Messages[0].Data != want || got.Messages[1].Data != "next" {
				t.Errorf("an event of %d bytes came back wrong", len(want))
			}
			if most := 20 + len(stream)>>15; r.n > most {
				t.Errorf("%d bytes with %q took %d reads, want at most %d", len(stream), eol, r.n, most)
			}
		}
	}
}

// The search for line ends must stay linear where one kind of end is rare.
func TestLineEndsOfOneKind(t *testing.T) {
	for _, eol := range []string{"\r", "\n", "\r\n"} {
		in := strings.Repeat("data: a"+eol+eol, 1<<16)
		start := time.Now()
		if got := decode(strings.NewReader(in)); len(got.Messages) != 1<<16 {
			t.Errorf("%q: %d events", eol, len(got.Messages))
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%q: took %v", eol, d)
		}
	}
}

// What lies whole in memory is read by a shorter way, which must do the same as the general rules.
func TestPlainEvents(t *testing.T) {
	for _, in := range []string{plainly, strings.ReplaceAll(plainly, "a", "é"), strings.ReplaceAll(plainly, "b", "\xFF")} {
		for from := range len(in) {
			in := "\n" + in[from:]
			got, want := decode(strings.NewReader(in)), modelDecode([]byte(in))
			if !got.equal(want) {
				t.Fatalf("%q:\n got %+v\nwant %+v", in, got, want)
			}
			for _, limit := range []int{6, 7, 8, 9, 10, 14, 20} {
				limits := sse.WithLimits(limit+from%2*50, limit-5)
				whole := decode(strings.NewReader(in), limits)
				// One byte at a time no event is ever whole in memory when it begins.
				again := decode(iotest.OneByteReader(strings.NewReader(in)), limits)
				if !whole.equal(again) {
					t.Fatalf("%q with a limit of %d:\n got %+v\nwant %+v", in, limit, whole, again)
				}
			}
		}
	}
}

func TestTypesAreKept(t *testing.T) {
	var in strings.Builder
	var want []sse.Message
	for i := range 1000 {
		m := sse.Message{Event: strings.Repeat(string(rune('a'+i%11)), 1+i%70), Data: "x"}
		in.WriteString("id\nevent: " + m.Event + "\ndata: x\n\n")
		if i%5 == 0 {
			in.WriteString("data: x\nevent: " + m.Event + "\n\n")
			want = append(want, m)
		}
		want = append(want, m)
	}
	if got := decode(strings.NewReader(in.String())); !slices.Equal(got.Messages, want) {
		t.Errorf("%+v", got.Messages)
	}
}

// Beyond what it hands out a Decoder allocates nothing for an event. Short strings share allocations of a kilobyte.
func TestAllocations(t *testing.T) {
	for _, s := range streams {
		var text strings.Builder
		n, size := 0, 0
		for ; size < 256<<10; n++ {
			e := s.event(n)
			text.WriteString(e)
			size += len(e)
		}
		in := []byte(text.String())
		strs := 0.0
		for _, m := range decode(strings.NewReader(text.String())).Messages {
			if len(m.Data) > 128 || strings.Contains(m.Data, "é") {
				strs++ // too long to share
			}
		}
		// A few are for the Decoder itself and its buffer.
		most := strs + float64(size)/1000 + 30
		if got := testing.AllocsPerRun(3, func() { readAll(in) }); got > most {
			t.Errorf("%s: %v allocations for %d events, want at most %v", s.name, got, n, most)
		}
	}
}
