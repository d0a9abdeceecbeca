package backplanetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// chain checks that pages follow one another without a hole and collects their
// entries.
type chain struct {
	upto    backplane.Position
	entries []backplane.Entry
}

// add adds a page, and returns what is wrong with it.
func (c *chain) add(p backplane.Page) error {
	if p.After != c.upto {
		return fmt.Errorf("page begins after %v, want after %v", p.After, c.upto)
	}
	if p.Now.IsZero() {
		return fmt.Errorf("page after %v has no time", p.After)
	}
	at := p.After
	for _, e := range p.Entries {
		if err := follows(at, e.Position); err != nil {
			return fmt.Errorf("entry: %w", err)
		}
		if e.Time.IsZero() {
			return fmt.Errorf("entry at %v has no time", e.Position)
		}
		at = e.Position
	}
	if p.Upto != at {
		if err := follows(at, p.Upto); err != nil {
			return fmt.Errorf("end of page: %w", err)
		}
	}
	c.upto = p.Upto
	for _, e := range p.Entries {
		if e.Data != nil { // else the bus's own
			c.entries = append(c.entries, e)
		}
	}
	return nil
}

// follows returns an error unless p can stand behind at.
func follows(at, p backplane.Position) error {
	if p.Epoch != at.Epoch {
		return fmt.Errorf("%v has another epoch than %v before it", p, at)
	}
	if p.Seq <= at.Seq {
		return fmt.Errorf("%v is not behind %v", p, at)
	}
	if parsed, err := backplane.ParsePosition(p.String()); err != nil || parsed != p {
		return fmt.Errorf("%#v does not survive as text: %#v, %v", p, parsed, err)
	}
	return nil
}

// pages reads what is behind after in pages of maxBytes, up to the position upto at
// least: a page may be stale, so it asks again when there seems to be no more.
// It checks each page, and calls each (unless it is nil) with it.
func (e *env) pages(l backplane.Log, after, upto backplane.Position, maxBytes int, each func(backplane.Page)) ([]backplane.Entry, error) {
	c := chain{upto: after}
	for c.upto.Seq < upto.Seq {
		p, err := l.Read(e.ctx, c.upto, maxBytes)
		if err != nil {
			return c.entries, err
		}
		if err := c.add(p); err != nil {
			return c.entries, err
		}
		if each != nil {
			each(p)
		}
		if size := sizeOf(p.Entries); size > maxBytes && len(p.Entries) > 1 {
			return c.entries, fmt.Errorf("page of %d bytes in %d entries, asked for at most %d", size, len(p.Entries), maxBytes)
		}
		if p.Upto == p.After {
			if err := e.pause(5 * time.Millisecond); err != nil {
				return c.entries, fmt.Errorf("read up to %v of %v: %w", c.upto, upto, err)
			}
		}
	}
	return c.entries, nil
}

// readAll reads everything behind after.
func (e *env) readAll(l backplane.Log, after backplane.Position) []backplane.Entry {
	e.Helper()
	entries, err := e.pages(l, after, e.bounds(l).Last, 1<<20, nil)
	e.must(err, "Read")
	return entries
}

// readKept reads all that is left. A bus that keeps marks of its own in the log may
// trim between the two calls: then it asks again where the log begins.
func (e *env) readKept(l backplane.Log) (entries []backplane.Entry) {
	e.Helper()
	e.eventually("what is kept can be read", func() (bool, any) {
		var err error
		b := e.bounds(l)
		entries, err = e.pages(l, b.First, b.Last, 1<<20, nil)
		if err != nil && !errors.Is(err, backplane.ErrTrimmed) {
			e.must(err, "Read")
		}
		return err == nil, err
	})
	return entries
}

func sizeOf(entries []backplane.Entry) int {
	size := 0
	for _, e := range entries {
		size += len(e.Data)
	}
	return size
}

func texts(entries []backplane.Entry) []string {
	out := make([]string, len(entries))
	for i, e := range entries {
		out[i] = string(e.Data)
	}
	return out
}

func places(entries []backplane.Entry) []backplane.Position {
	out := make([]backplane.Position, len(entries))
	for i, e := range entries {
		out[i] = e.Position
	}
	return out
}
