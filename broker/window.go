package broker

import (
	"sort"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// window is a run of the log in memory, indexed by audience: the newest part of
// the log, or one page of a scan. It holds every entry behind after up to upto.
// It has no lock of its own.
type window struct {
	after, upto backplane.Position
	entries     fifo[*entry]
	index       map[key]*fifo[*entry]
	authors     map[string]*entry // the newest event with that author's id
	bytes       int
}

func newWindow(at backplane.Position) *window {
	return &window{
		after: at, upto: at,
		index:   make(map[key]*fifo[*entry]),
		authors: make(map[string]*entry),
	}
}

// kept returns the entry as a window keeps it: of an ephemeral event only the place.
func (e *entry) kept() *entry {
	if e.event != nil && e.event.ephemeral {
		return &entry{pos: e.pos, time: e.time, size: entryOverhead}
	}
	return e
}

// add appends an entry.
func (w *window) add(e *entry) {
	w.upto = e.pos
	w.bytes += e.size
	w.entries.push(e)
	for _, k := range e.indexKeys() {
		list := w.index[k]
		if list == nil {
			list = new(fifo[*entry])
			w.index[k] = list
		}
		list.push(e)
	}
	if e.event != nil && e.event.authorID != "" {
		e.ambiguous = w.authors[e.event.authorID] != nil
		w.authors[e.event.authorID] = e
	}
}

// advance moves the end over a part of the log that holds nothing for sessions.
func (w *window) advance(upto backplane.Position) {
	if upto != w.upto {
		w.add(&entry{pos: upto, size: entryOverhead})
	}
}

// trim evicts the oldest entries until the rest fits into limit bytes.
func (w *window) trim(limit int) {
	for w.bytes > limit && w.entries.len() > 0 {
		e := w.entries.pop()
		w.bytes -= e.size
		w.after = e.pos
		for _, k := range e.indexKeys() {
			if list := w.index[k]; list.len() == 1 {
				delete(w.index, k)
			} else {
				list.pop()
			}
		}
		if e.event != nil && w.authors[e.event.authorID] == e {
			delete(w.authors, e.event.authorID)
		}
	}
}

// covers reports whether everything behind pos is in the window or to come.
func (w *window) covers(pos backplane.Position) bool { return pos.Seq >= w.after.Seq }

// contradicts reports whether the window has another history at pos: a number
// that the bus has given out twice.
func (w *window) contradicts(pos backplane.Position) bool {
	if pos.Epoch != w.upto.Epoch || pos.Seq < w.after.Seq || pos.Seq > w.upto.Seq {
		return false
	}
	if pos.Seq == w.after.Seq {
		return !pos.SameHistory(w.after)
	}
	i := w.find(&w.entries, pos.Seq-1)
	return i < w.entries.len() && !pos.SameHistory(w.entries.at(i).pos)
}

// find returns the index of the first entry of the list behind seq.
func (w *window) find(list *fifo[*entry], seq uint64) int {
	return sort.Search(list.len(), func(i int) bool { return list.at(i).pos.Seq > seq })
}

// since returns the position behind which lies all that was accepted at or
// after t, as far as the window knows, and whether that is all there is.
func (w *window) since(t time.Time) (pos backplane.Position, complete bool) {
	pos = w.after
	for i := range w.entries.len() {
		e := w.entries.at(i)
		if !e.time.IsZero() { // marks of the bus have none
			if !e.time.Before(t) {
				return pos, complete
			}
			complete = true
		}
		pos = e.pos
	}
	return w.upto, complete
}

// collect appends to dst what the session is still to get behind the cursor, in
// order, until there is nothing more (it returns upto and true), or until
// maxFrames or maxBytes are reached (it returns the new cursor and false). One
// frame is always taken.
func (w *window) collect(s *session, cursor uint64, dst []*frame, maxFrames, maxBytes int) ([]*frame, uint64, bool) {
	lists := w.listsOf(s, cursor)
	taken, size := 0, 0
	for {
		e := nextOf(lists)
		if e == nil {
			return dst, w.upto.Seq, true
		}
		if !s.gets(e) {
			continue
		}
		f := e.frame()
		if taken > 0 && (taken == maxFrames || size+len(f.bytes) > maxBytes) {
			return dst, cursor, false
		}
		dst = append(dst, f)
		cursor = f.seq
		taken++
		size += len(f.bytes)
	}
}

// listAt is a place in a list of the index.
type listAt struct {
	list *fifo[*entry]
	next int
}

// listsOf returns the lists that concern the session, each at its first entry
// behind the cursor.
func (w *window) listsOf(s *session, cursor uint64) []listAt {
	lists := make([]listAt, 0, 8)
	for _, sub := range s.subs {
		list := w.index[sub.topic.key]
		if list == nil {
			continue
		}
		if i := w.find(list, max(cursor, sub.since)); i < list.len() {
			lists = append(lists, listAt{list, i})
		}
	}
	return lists
}

// nextOf takes the entry with the lowest number off the lists, off all in
// which it stands; nil if they are empty.
func nextOf(lists []listAt) *entry {
	var first *entry
	for _, l := range lists {
		if l.next < l.list.len() {
			if e := l.list.at(l.next); first == nil || e.pos.Seq < first.pos.Seq {
				first = e
			}
		}
	}
	for i := range lists {
		if l := &lists[i]; first != nil && l.next < l.list.len() && l.list.at(l.next) == first {
			l.next++
		}
	}
	return first
}

// hasBetween reports whether the topic has, or may have had, an event behind from
// and up to upto.
func (w *window) hasBetween(sub subscription, from, upto uint64) bool {
	from = max(from, sub.since)
	if from >= upto {
		return false
	}
	if from < w.after.Seq {
		return true
	}
	list := w.index[sub.topic.key]
	if list == nil {
		return false
	}
	i := w.find(list, from)
	return i < list.len() && list.at(i).pos.Seq <= upto
}

// controlsOf calls yield with the control entries for a client behind seq.
func (w *window) controlsOf(client string, seq uint64, yield func(*entry)) {
	list := w.index[key{kindNone, client}]
	if list == nil {
		return
	}
	for i := w.find(list, seq); i < list.len(); i++ {
		yield(list.at(i))
	}
}

// indexKeys returns the keys that an entry is found under. Control entries
// stand under a kind that no audience has.
func (e *entry) indexKeys() []key {
	switch {
	case e.control != nil:
		return []key{{kindNone, e.control.client}}
	case e.event != nil:
		return e.event.to.keys()
	}
	return nil
}
