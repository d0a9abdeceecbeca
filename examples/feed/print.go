package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"

	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

// printer writes what arrives. Comments come from another goroutine than events.
type printer interface {
	event(sse.Event) error
	comment(string)
}

// jsonLines writes each event as one line, for programs.
type jsonLines struct {
	mu  sync.Mutex // guards enc
	enc *json.Encoder
}

func newJSONLines(w io.Writer) *jsonLines {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &jsonLines{enc: enc}
}

func (p *jsonLines) event(e sse.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.enc.Encode(struct {
		ID    string `json:"id,omitempty"`
		Event string `json:"event,omitempty"`
		Data  string `json:"data"`
	}{e.GetId(), e.GetEvent(), e.GetData()})
}

func (p *jsonLines) comment(c string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enc.Encode(map[string]string{"comment": c})
}

// lines writes events for people: type and id, then the data, indented where it has several lines.
type lines struct {
	mu    sync.Mutex // guards w
	w     io.Writer
	paint paint
}

func (p *lines) event(e sse.Event) error {
	name, colour := e.GetEvent(), cyan
	if name == "" {
		name = "message"
	}
	if _, ok := e.(client.Reset); ok {
		colour = red
	}
	var b strings.Builder
	b.WriteString(p.paint.with(colour, visible(name)))
	if id := e.GetId(); id != "" {
		b.WriteString(" " + p.paint.with(grey, visible(id)))
	}
	data := visible(e.GetData())
	if strings.Contains(data, "\n") {
		data = "\n  " + strings.ReplaceAll(data, "\n", "\n  ")
	} else {
		data = " " + data
	}
	b.WriteString(data + "\n")
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := io.WriteString(p.w, b.String())
	return err
}

func (p *lines) comment(c string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.w, p.paint.with(grey, ": "+visible(c)))
}

const (
	red  = "31"
	cyan = "36"
	grey = "90"
)

// paint tells whether to colour.
type paint bool

func (p paint) with(colour, s string) string {
	if !p {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// visible shows control characters by their number, so that a server cannot steer the terminal.
func visible(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			fmt.Fprintf(&b, `\x%02x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
