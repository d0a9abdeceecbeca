package backplane

import (
	"cmp"
	"slices"
	"time"
)

// entryOverhead is what an entry counts towards the retention besides its data.
const entryOverhead = 64

// history is the log of a namespace: what is retained of its present epoch.
type history struct {
	epoch  string
	tagged bool
	holes  bool

	began Position // the end of the log when the epoch began
	first Position // the predecessor of the first of the entries
	// seq is the highest number given out, tags how many tags.
	seq  uint64
	tags uint64

	slots []slot // slots[head:] are retained, in order
	head  int
	bytes int64
	// newest is the number of the newest entry that is not a mark; 0: none.
	newest uint64
}

// slot is a place in the log: an entry, or a mark of the bus, which is a
// position without an entry.
type slot struct {
	Entry
	mark bool
}

func (s *slot) size() int64 {
	if s.mark {
		return 0
	}
	return int64(len(s.Data)) + entryOverhead
}

func (h *history) live() []slot { return h.slots[h.head:] }

// last is the end of the log.
func (h *history) last() Position {
	if n := len(h.slots); n > h.head {
		return h.slots[n-1].Position
	}
	return h.first
}

// append adds an entry (or a mark) and returns its position.
func (h *history) append(data []byte, mark bool, now time.Time) Position {
	step := uint64(1)
	if h.holes {
		step += h.seq * 7 % 5
	}
	h.seq += step
	p := Position{Epoch: h.epoch, Seq: h.seq}
	if h.tagged {
		h.tags++
		p.Tag = uint16(h.tags%(1<<16-1)) + 1
	}
	s := slot{Entry: Entry{Position: p, Time: now, Data: data}, mark: mark}
	h.slots = append(h.slots, s)
	h.bytes += s.size()
	if !mark {
		h.newest = p.Seq
	}
	return p
}

// trim lets go of the oldest entries as long as there are more bytes than
// maxBytes or they are older than maxAge, and returns whether it did. The newest
// entry stays.
func (h *history) trim(maxBytes int64, maxAge time.Duration, now time.Time) bool {
	before := h.head
	for h.head < len(h.slots) {
		s := &h.slots[h.head]
		if h.bytes <= maxBytes && now.Sub(s.Time) <= maxAge || s.Position.Seq == h.newest {
			break
		}
		h.drop()
	}
	h.compact()
	return h.head != before
}

// drop lets go of the oldest slot.
func (h *history) drop() {
	s := &h.slots[h.head]
	h.first = s.Position
	h.bytes -= s.size()
	*s = slot{}
	h.head++
}

// compact moves the entries to the front when at least as many slots are free
// there, so that an entry is moved once, on average, at most.
func (h *history) compact() {
	live := len(h.slots) - h.head
	if h.head < 64 || h.head < live {
		return
	}
	if cap(h.slots) > 1024 && live < cap(h.slots)/8 {
		h.slots = slices.Clone(h.live())
	} else {
		copy(h.slots, h.live())
		clear(h.slots[live:])
		h.slots = h.slots[:live]
	}
	h.head = 0
}

// locate returns the index in live of what comes behind p.
func (h *history) locate(p Position) (int, error) {
	switch {
	case p.Epoch != h.epoch || p.Seq < h.began.Seq:
		return 0, ErrEpoch
	case p.Seq < h.first.Seq:
		return 0, ErrTrimmed
	case p.Seq == h.first.Seq:
		if !p.SameHistory(h.first) {
			return 0, ErrEpoch
		}
		return 0, nil
	}
	live := h.live()
	i, found := slices.BinarySearchFunc(live, p.Seq, func(s slot, seq uint64) int {
		return cmp.Compare(s.Position.Seq, seq)
	})
	if !found || !p.SameHistory(live[i].Position) {
		return 0, ErrEpoch
	}
	return i + 1, nil
}

// page returns what comes behind after: as many entries as fit into maxBytes
// and maxEntries, but at least one if there is one.
func (h *history) page(after Position, maxBytes, maxEntries int, now time.Time) (Page, error) {
	p := Page{After: after, Upto: after, Now: now}
	i, err := h.locate(after)
	if err != nil {
		return p, err
	}
	rest := h.live()[i:]
	n, entries, size := 0, 0, 0
	for ; n < len(rest); n++ {
		if rest[n].mark {
			continue
		}
		size += len(rest[n].Data)
		if entries > 0 && (size > maxBytes || entries >= maxEntries) {
			break
		}
		entries++
	}
	p.fill(rest[:n], entries)
	return p, nil
}

// tail returns the newest entries, as many as fit into maxBytes.
func (h *history) tail(maxBytes int, now time.Time) Page {
	live := h.live()
	i, entries, size := len(live), 0, 0
	for ; i > 0; i-- {
		if live[i-1].mark {
			continue
		}
		if size += len(live[i-1].Data); size > maxBytes {
			break
		}
		entries++
	}
	p := Page{After: h.first, Now: now}
	if i > 0 {
		p.After = live[i-1].Position
	}
	p.Upto = p.After
	p.fill(live[i:], entries)
	return p
}

// fill copies a run of slots, of which so many are entries, into the page.
func (p *Page) fill(run []slot, entries int) {
	if len(run) == 0 {
		return
	}
	p.Upto = run[len(run)-1].Position
	if entries == 0 {
		return
	}
	p.Entries = make([]Entry, 0, entries)
	for i := range run {
		if !run[i].mark {
			p.Entries = append(p.Entries, run[i].Entry)
		}
	}
}

// begin starts another epoch at the present end of the log.
func (h *history) begin(epoch string) {
	h.epoch = epoch
	h.began = Position{Epoch: epoch, Seq: h.last().Seq}
	h.first = h.began
	h.slots, h.head, h.bytes, h.newest = nil, 0, 0, 0
}

func (h *history) bounds() Bounds {
	return Bounds{Epoch: h.epoch, Began: h.began, First: h.first, Last: h.last()}
}
