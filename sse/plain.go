package sse

import (
	"bytes"
	"unicode/utf8"
)

// plainEvent reads the next event into m if it is what nearly all are: whole in memory, and
// nothing but id, type and data. Otherwise it has done nothing, and the general rules take the event line by line, with
// the same result in three times as long.
func (d *Decoder) plainEvent(m *Message) bool {
	l := &d.lines
	if d.begun || !l.notFirst || l.lf >= len(l.buf) || l.buf[l.start] == ':' {
		return false
	}
	id, event, data, lines, end := findPlain(l.buf, l.start, l.lf, d.typeLine)
	block := l.buf[l.start:end]
	if lines == 0 || len(block) > d.maxLine || len(block) > d.maxEvent-len(d.id) {
		return false
	}
	if !l.plain && (!utf8.Valid(block) || bytes.IndexByte(l.buf[id.from:id.to], 0) >= 0) {
		return false
	}
	if event.from > 0 {
		m.Event = d.eventType(l.buf[event.from:event.to])
	} else if event.to > 0 {
		m.Event = typeOf(d.typeLine)
	}
	switch from, to := min(id.from, data.from), max(id.to, data.to); {
	case lines > 1:
		d.joinLines(l.buf[data.from:data.to])
		m.Data = d.strings.make(d.data, true)
		d.reset()
	case id.to == 0:
		m.Data = d.strings.make(l.buf[data.from:data.to], true)
	case to-from <= shortString:
		// One copy for both.
		text := d.strings.make(l.buf[from:to], true)
		m.Data = text[data.from-from : data.to-from]
		d.id = text[id.from-from : id.to-from]
		id.to = 0
	default:
		m.Data = d.strings.make(l.buf[data.from:data.to], true)
	}
	if id.to > 0 {
		d.id = d.strings.make(l.buf[id.from:id.to], true)
	}
	m.ID = d.id
	if d.setRetry > 0 {
		m.Retry, d.setRetry = d.setRetry, 0
	}
	l.skipTo(end + 1)
	return true
}

// findPlain finds the parts of the event that starts at begin in buf and whose first line ends at end; an event type at
// 0 is that of typeLine, the type that is likely. It returns how many lines of data there are, one after another, 0 if
// this is no plain event, and where the blank line is.
func findPlain(buf []byte, begin, end int, typeLine string) (id, event, data span, lines, blank int) {
	for {
		switch line := buf[begin:end]; {
		case len(line) > 6 && string(line[:6]) == "data: ":
			if lines++; lines == 1 {
				data.from = begin + 6
			} else if data.to != begin-1 {
				return id, event, data, 0, end // another line lies between
			}
			data.to = end
		case len(line) > 4 && string(line[:4]) == "id: ":
			id = span{begin + 4, end}
		case len(line) > 7 && string(line[:7]) == "event: ":
			event = span{begin + 7, end}
		default:
			return id, event, data, 0, end
		}
		begin = end + 1
		if begin < len(buf) && buf[begin] == '\n' {
			return id, event, data, lines, begin
		}
		if n := begin + len(typeLine); n > begin && n < len(buf) && string(buf[begin:n]) == typeLine {
			event = span{0, n - 1}
			begin = n
			if buf[begin] == '\n' {
				return id, event, data, lines, begin
			}
		}
		i := bytes.IndexByte(buf[begin:], '\n')
		if i < 0 {
			return id, event, data, 0, end
		}
		end = begin + i
	}
}

// joinLines puts into d.data what are lines of data but for the name of the first.
func (d *Decoder) joinLines(lines []byte) {
	d.data = d.data[:0]
	for {
		i := bytes.IndexByte(lines, '\n')
		if i < 0 {
			d.data = append(d.data, lines...)
			return
		}
		d.data = append(d.data, lines[:i+1]...)
		lines = lines[i+1+len("data: "):]
	}
}
