package sse

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// plainEvent reads the next event into m if it is what nearly all are: whole in memory, and
// nothing but id, type and data. Otherwise it has done nothing, and the general rules take the event line by line, with
// the same result.
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
	if lines == 1 && len(block) <= slabSize {
		text, at := d.share(l.start, end)
		m.Data = text[data.from-at : data.to-at]
		if id.to > 0 {
			d.id = text[id.from-at : id.to-at]
		}
		if event.from > 0 {
			d.typeLine = text[event.from-len(typePrefix)-at : event.to+1-at]
			event.from = 0
		}
	} else {
		m.Data = joinLines(l.buf[data.from:data.to], lines)
		if id.to > 0 {
			d.id = d.strings.make(l.buf[id.from:id.to], true)
		}
		if event.from > 0 {
			m.Event = d.strings.make(l.buf[event.from:event.to], true)
		}
	}
	if event.from == 0 && event.to > 0 {
		m.Event = typeOf(d.typeLine)
	}
	m.ID = d.id
	if d.setRetry > 0 {
		m.Retry, d.setRetry = d.setRetry, 0
	}
	l.skipTo(end + 1)
	return true
}

// share returns a copy of a part of the buffer of lines that includes an event, and where it begins there. Events that
// come one after another share a copy of up to a kilobyte, of which all their strings are parts: this is faster
// than to copy each, and takes no more memory than their field names do.
func (d *Decoder) share(from, to int) (text string, at int) {
	if from < d.textAt || to > d.textAt+len(d.text) {
		n := to + 1 - from // of which as many as fit are likely to come
		n *= max(1, slabSize/n)
		buf := d.lines.buf
		d.text, d.textAt = string(buf[from:min(from+n, len(buf))]), from
	}
	return d.text, d.textAt
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

// joinLines returns what n lines of data say, from behind the name of the first.
func joinLines(lines []byte, n int) string {
	if n == 1 {
		return string(lines)
	}
	var b strings.Builder
	b.Grow(len(lines) - (n-1)*len("data: "))
	for {
		i := bytes.IndexByte(lines, '\n')
		if i < 0 {
			b.Write(lines)
			return b.String()
		}
		b.Write(lines[:i+1])
		lines = lines[i+1+len("data: "):]
	}
}
