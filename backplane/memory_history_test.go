package backplane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// model is a history that keeps everything and looks everything up the slow way.
type model struct {
	slots []slot // all of the present epoch, the lost ones excepted
	gone  int    // slots[:gone] have been trimmed
}

func (m *model) size() (bytes int64) {
	for _, s := range m.slots[m.gone:] {
		bytes += s.size()
	}
	return bytes
}

// newest is the index of the newest entry, or -1.
func (m *model) newest() int {
	for i := len(m.slots) - 1; i >= m.gone; i-- {
		if !m.slots[i].mark {
			return i
		}
	}
	return -1
}

func (m *model) trim(maxBytes int64) {
	for m.gone < len(m.slots) && m.size() > maxBytes && m.gone != m.newest() {
		m.gone++
	}
}

// behind returns the entries behind the i-th slot; -1 is the beginning.
func (m *model) behind(i int) ([]Entry, error) {
	if i < m.gone-1 {
		return nil, ErrTrimmed
	}
	var out []Entry
	for _, s := range m.slots[i+1:] {
		if !s.mark {
			out = append(out, s.Entry)
		}
	}
	return out, nil
}

func TestHistoryAgainstModel(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { compareWithModel(t, seed) })
	}
}

func compareWithModel(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	begin := Position{Epoch: "e"}
	ns := &namespace{
		history: history{epoch: "e", began: begin, first: begin, tagged: seed%2 == 0, holes: seed%3 == 0},
		once:    newOnce(),
	}
	h, m := &ns.history, &model{}
	now := time.Now()
	var lost []Position
	maxBytes := int64(entryOverhead * (2 + r.IntN(200)))
	for range 1000 {
		switch n := r.IntN(100); {
		case n < 80:
			m.slots = append(m.slots, slot{Entry: Entry{Time: now, Data: make([]byte, r.IntN(100))}, mark: r.IntN(10) == 0})
			s := &m.slots[len(m.slots)-1]
			if s.mark {
				s.Data = nil
			}
			s.Position = h.append(s.Data, s.mark, now)
		case n < 95:
			h.trim(maxBytes, time.Hour, now)
			m.trim(maxBytes)
		case n < 97:
			// The newest entry is not trimmed, but it can be lost.
			k := r.IntN(5)
			ns.rollback(k)
			for ; k > 0 && len(m.slots) > m.gone; k-- {
				lost = append(lost, m.slots[len(m.slots)-1].Position)
				m.slots = m.slots[:len(m.slots)-1]
			}
		default:
			compare(t, h, m, r, lost)
		}
	}
	compare(t, h, m, r, lost)
}

func compare(t *testing.T, h *history, m *model, r *rand.Rand, lost []Position) {
	t.Helper()
	if h.bytes != m.size() {
		t.Fatalf("%d bytes, want %d", h.bytes, m.size())
	}
	for range 10 {
		i := r.IntN(len(m.slots)+1) - 1
		p := Position{Epoch: "e"}
		if i >= 0 {
			p = m.slots[i].Position
		}
		want, wantErr := m.behind(i)
		page, err := h.page(p, 1<<30, 1<<30, time.Now())
		if !errors.Is(err, wantErr) || err == nil && !slices.EqualFunc(page.Entries, want, sameEntry) {
			t.Fatalf("behind %v: got %d entries, %v; want %d, %v", p, len(page.Entries), err, len(want), wantErr)
		}
		if err == nil && page.Upto != h.last() && len(m.slots) > i+1 {
			t.Fatalf("behind %v the page ends at %v, the log at %v", p, page.Upto, h.last())
		}
	}
	for _, p := range lost {
		if _, err := h.page(p, 1, 1, time.Now()); err == nil {
			t.Fatalf("the lost position %v is taken for one of the log", p)
		}
	}
	for _, maxBytes := range []int{0, r.IntN(3000), 1 << 30} {
		tail := h.tail(maxBytes, time.Now())
		rest, err := h.page(tail.After, 1<<30, 1<<30, time.Now())
		if err != nil || !slices.EqualFunc(rest.Entries, tail.Entries, sameEntry) || rest.Upto != tail.Upto {
			t.Fatalf("the tail %+v is not what is behind its beginning: %+v, %v", tail, rest, err)
		}
	}
}

func sameEntry(a, b Entry) bool {
	return a.Position == b.Position && len(a.Data) == len(b.Data)
}
