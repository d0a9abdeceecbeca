package sse_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sseplane/sseplane/sse"
)

// foreign is an Event of a type that the package does not know.
type foreign string

func (f foreign) Prepare() []byte {
	if f == "panic" {
		panic("no")
	}
	return []byte(f)
}
func (foreign) GetId() string    { return "not used" }
func (foreign) GetEvent() string { return "not used" }
func (foreign) GetData() string  { return "not used" }

type badJSON struct{}

func (badJSON) MarshalJSON() ([]byte, error) { panic("no") }

func TestNewBlock(t *testing.T) {
	type block struct {
		id, event, bytes string
		hasData          bool
	}
	tests := []struct {
		name string
		e    sse.Event
		want block
	}{
		{"data only", sse.StringEvent{Data: "a"}, block{"", "", "data: a\n\n", true}},
		{"all fields", sse.StringEvent{"1", "x", "a"}, block{"1", "x", "event: x\ndata: a\n\n", true}},
		{"pointer", &sse.StringEvent{"1", "x", "a"}, block{"1", "x", "event: x\ndata: a\n\n", true}},
		{"empty data", sse.StringEvent{}, block{"", "", "data: \n\n", true}},
		{"line ends", sse.StringEvent{Data: "a\nb\rc\r\nd\n\re"}, block{"", "", "data: a\ndata: b\ndata: c\ndata: d\ndata: \ndata: e\n\n", true}},
		{"line end last", sse.StringEvent{Data: "a\n"}, block{"", "", "data: a\ndata: \n\n", true}},
		{"leading space", sse.StringEvent{" 1", " x", " a"}, block{" 1", " x", "event:  x\ndata:  a\n\n", true}},
		{"invalid UTF-8", sse.StringEvent{"\xFF", "\xFF", "\xFF"}, block{"\uFFFD", "\uFFFD", "event: \uFFFD\ndata: \uFFFD\n\n", true}},
		{"JSON", &sse.JsonEvent{"1", "x", map[string]any{"a": "b\nc"}}, block{"1", "x", "event: x\ndata: {\"a\":\"b\\nc\"}\n\n", true}},
		{"JSON null", &sse.JsonEvent{}, block{"", "", "data: null\n\n", true}},
		{"raw JSON of several lines", &sse.JsonEvent{Data: json.RawMessage("{\n}")}, block{"", "", "data: {}\n\n", true}},
		{"heartbeat", sse.HeartbeatEvent{}, block{"", "", ": heartbeat\n\n", false}},
		{"pointer to heartbeat", &sse.HeartbeatEvent{}, block{"", "", ": heartbeat\n\n", false}},
		{"message", sse.Message{ID: "1", Event: "x", Data: "a\nb", Retry: time.Second, Comment: "c\r\nd"},
			block{"1", "x", ": c\n: d\nretry: 1000\nevent: x\ndata: a\ndata: b\n\n", true}},
		{"pointer to message", &sse.Message{Data: "a"}, block{"", "", "data: a\n\n", true}},
		{"message with a type only", sse.Message{Event: "x"}, block{"", "x", "event: x\ndata: \n\n", true}},
		{"message with an id only", sse.Message{ID: "1"}, block{"1", "", ":\n\n", false}},
		{"message with a comment only", sse.Message{Comment: "c"}, block{"", "", ": c\n\n", false}},
		{"message with a time only", sse.Message{Retry: 1}, block{"", "", "retry: 1\n\n", false}},
		{"longest time", sse.Message{Retry: math.MaxInt64}, block{"", "", "retry: 9223372036855\n\n", false}},
		{"foreign", foreign("id: 1\nevent: x\ndata: a\ndata: b\n\n"), block{"1", "x", "event: x\ndata: a\ndata: b\n\n", true}},
		{"foreign with CR", foreign("data: a\rid: 2\r\r"), block{"2", "", "data: a\n\n", true}},
		{"foreign with more blank lines", foreign("\n\ndata: a\n\n\n"), block{"", "", "data: a\n\n", true}},
		{"foreign with unknown fields", foreign("\uFEFFfoo: x\ndata: a\n\n"), block{"", "", "data: a\n\n", true}},
		{"foreign with everything", foreign(": c\n: d\n\nretry: 7\n\nid: 1\ndata\n\n"), block{"1", "", ": c\n: d\nretry: 7\ndata: \n\n", true}},
		{"foreign with an empty comment", foreign(":\n\n"), block{"", "", ": \n\n", false}},
		{"foreign with a huge line", foreign("data: " + strings.Repeat("x", 20<<20) + "\n\n"),
			block{"", "", "data: " + strings.Repeat("x", 20<<20) + "\n\n", true}},
	}
	for _, tt := range tests {
		b, err := sse.NewBlock(tt.e)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := (block{b.ID, b.Event, string(b.Bytes), b.HasData}); got != tt.want {
			t.Errorf("%s:\n got %.300s\nwant %.300s", tt.name, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", tt.want))
		}
		if !sse.ValidBlock(b.Bytes) {
			t.Errorf("%s: not valid: %.200q", tt.name, b.Bytes)
		}
	}
}

func TestNewBlockRefuses(t *testing.T) {
	var noString *sse.StringEvent
	var noMessage *sse.Message
	var noJSON *sse.JsonEvent
	var noForeign *foreign
	tests := []struct {
		name string
		e    sse.Event
		want error
	}{
		{"nil", nil, sse.ErrNilEvent},
		{"nil StringEvent", noString, sse.ErrNilEvent},
		{"nil Message", noMessage, sse.ErrNilEvent},
		{"nil JsonEvent", noJSON, sse.ErrNilEvent},
		{"nil foreign", noForeign, sse.ErrPrepare},
		{"LF in id", sse.StringEvent{Id: "a\ndata: b"}, sse.ErrLineBreak},
		{"CR in id", sse.StringEvent{Id: "a\rb"}, sse.ErrLineBreak},
		{"NUL in id", sse.StringEvent{Id: "a\x00"}, sse.ErrNUL},
		{"LF in type", sse.StringEvent{Event: "a\n"}, sse.ErrLineBreak},
		{"CR in type", &sse.JsonEvent{Event: "\ra"}, sse.ErrLineBreak},
		{"LF in id of a control block", sse.Message{ID: "a\n\n"}, sse.ErrLineBreak},
		{"negative time", sse.Message{Data: "a", Retry: -1}, sse.ErrRetry},
		{"nothing", sse.Message{}, sse.ErrEmptyEvent},
		{"panic", foreign("panic"), sse.ErrPrepare},
		{"two events", foreign("data: a\n\ndata: b\n\n"), sse.ErrPrepare},
		{"two events by CR", foreign("data: a\r\rdata: b\n\n"), sse.ErrPrepare},
		{"no blank line", foreign("data: a\n"), sse.ErrPrepare},
		{"no line end", foreign("data: a\n\ndata"), sse.ErrPrepare},
		{"empty foreign", foreign(""), sse.ErrEmptyEvent},
		{"foreign with a type only", foreign("event: x\n\n"), sse.ErrEmptyEvent},
	}
	for _, tt := range tests {
		if b, err := sse.NewBlock(tt.e); !errors.Is(err, tt.want) || b.Bytes != nil {
			t.Errorf("%s: %q, %v, want %v", tt.name, b.Bytes, err, tt.want)
		}
		if tt.e != nil && tt.e != sse.Event(noString) && tt.e != sse.Event(noMessage) && tt.e != sse.Event(noForeign) {
			if _, ok := tt.e.(foreign); !ok && tt.e.Prepare() != nil {
				t.Errorf("%s: Prepare is %q", tt.name, tt.e.Prepare())
			}
		}
	}
}

func TestErrorNamesField(t *testing.T) {
	for want, e := range map[string]sse.Event{"in id": sse.Message{ID: "\n"}, "in event": sse.Message{Event: "\n"}} {
		if _, err := sse.NewBlock(e); !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestJsonEventThatCannotBeMarshalled(t *testing.T) {
	for _, data := range []any{func() {}, math.Inf(1), badJSON{}, map[any]any{1: 2}} {
		e := &sse.JsonEvent{Id: "1", Data: data}
		if _, err := sse.NewBlock(e); err == nil {
			t.Errorf("%T: no error", data)
		}
		if e.Prepare() != nil || e.GetData() != "" {
			t.Errorf("%T: Prepare %q, GetData %q", data, e.Prepare(), e.GetData())
		}
	}
	var unsupported *json.UnsupportedTypeError
	if _, err := sse.NewBlock(&sse.JsonEvent{Data: func() {}}); !errors.As(err, &unsupported) {
		t.Errorf("%v does not lead to the error of encoding/json", err)
	}
	var none *sse.JsonEvent
	if none.GetId()+none.GetEvent()+none.GetData() != "" {
		t.Error("a nil JsonEvent has values")
	}
}

func TestGetters(t *testing.T) {
	for _, e := range []sse.Event{
		sse.StringEvent{"1", "x", `"d"`}, &sse.JsonEvent{"1", "x", "d"}, sse.Message{ID: "1", Event: "x", Data: `"d"`},
	} {
		if e.GetId() != "1" || e.GetEvent() != "x" || e.GetData() != `"d"` {
			t.Errorf("%T: %q %q %q", e, e.GetId(), e.GetEvent(), e.GetData())
		}
		if got, want := string(e.Prepare()), "id: 1\nevent: x\ndata: \"d\"\n\n"; got != want {
			t.Errorf("%T: Prepare is %q, want %q", e, got, want)
		}
	}
	if h := (sse.HeartbeatEvent{}); h.GetId()+h.GetEvent()+h.GetData() != "" || string(h.Prepare()) != ": heartbeat\n\n" {
		t.Errorf("heartbeat %q", h.Prepare())
	}
}

func TestValidBlock(t *testing.T) {
	for _, s := range []string{
		"data: a\n\n", "data: \n\n", "data: a\ndata: b\n\n", "event: x\ndata: a\n\n", ":\n\n", ": a\n: b\n\n", "retry: 1\n\n",
		": a\nretry: 12\nevent: x\ndata: a\n\n", "data: \x00\n\n", ": a\ndata: id: 1\n\n",
	} {
		if !sse.ValidBlock([]byte(s)) {
			t.Errorf("%q refused", s)
		}
	}
	for _, s := range []string{
		"", "\n", "\n\n", "\n\n\n", "data: a", "data: a\n", "data: a\n\n\n", "\ndata: a\n\n", "data: a\n\ndata: b\n\n",
		"data: a\r\n\n", "data: a\rid: 1\n\n", "id: 1\n\n", "id\ndata: a\n\n", "id:1\ndata: a\n\n", "data: a\nid: 1\n\n",
		"event: x\n\n", "event: \ndata: a\n\n", "event: x\nevent: y\ndata: a\n\n", "retry: \n\n", "retry: 1x\n\n", "retry: -1\n\n",
		"retry: 1\nretry: 2\n\n", "data: a\nevent: x\n\n", "data: a\n: c\n\n", "data\n\n", "data:a\n\n", "foo: x\n\n",
		"\uFEFFdata: a\n\n", "\uFEFFid: 1\n\n", "event: x\nid: 1\ndata: a\n\n", "data: a\n\n: c\n", "data: a\n\nx",
	} {
		if sse.ValidBlock([]byte(s)) {
			t.Errorf("%q accepted", s)
		}
	}
	b := bytes.Repeat([]byte("data: 0123456789\n"), 1000)
	b = append(b, '\n')
	if n := testing.AllocsPerRun(10, func() { sse.ValidBlock(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAppendID(t *testing.T) {
	b, _ := sse.NewBlock(sse.StringEvent{Data: "a"})
	if got := string(sse.AppendID([]byte("x"), "1-2")) + string(b.Bytes); got != "xid: 1-2\ndata: a\n\n" {
		t.Errorf("%q", got)
	}
}
