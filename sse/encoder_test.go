package sse_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sseplane/sseplane/sse"
)

// writes records each Write by itself.
type writes struct {
	got []string
	err error
}

func (w *writes) Write(p []byte) (int, error) {
	w.got = append(w.got, string(p))
	return len(p), w.err
}

func TestEncoder(t *testing.T) {
	w := &writes{}
	enc := sse.NewEncoder(w)
	large := strings.Repeat("x", 100<<10)
	for _, e := range []sse.Event{
		sse.StringEvent{"1", "x", "a"}, sse.Message{ID: "2"}, sse.HeartbeatEvent{}, sse.StringEvent{Data: large}, foreign("id:3\ndata:b\n\n"),
	} {
		if err := enc.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.Encode(sse.Message{ID: "\n"}); !errors.Is(err, sse.ErrLineBreak) {
		t.Error(err)
	}
	want := []string{"id: 1\nevent: x\ndata: a\n\n", "id: 2\n\n", ": heartbeat\n\n", "data: " + large + "\n\n", "id: 3\ndata: b\n\n"}
	if !slices.Equal(w.got, want) {
		t.Errorf("got %.300q", w.got)
	}
	w.err = errors.New("broken")
	if err := enc.Encode(sse.StringEvent{}); err != w.err {
		t.Errorf("%v, want the writer's own error", err)
	}
}
