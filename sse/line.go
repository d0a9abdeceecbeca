package sse

import (
	"bytes"
	"encoding/binary"
	"io"
	"unicode/utf8"
)

// lineReader cuts a stream into lines that end in LF, CRLF or CR, and drops one leading byte order mark.
type lineReader struct {
	r io.Reader

	buf      []byte // buf[start:] is read and not yet returned; every line end in it was made an LF
	start    int
	lineEnd  int  // where the last line ended
	lf       int  // index of the first LF at or after start, or len(buf) when there is none
	skipLF   bool // the last byte read was a CR: an LF that follows belongs to it
	notFirst bool // the byte order mark can come no more
	plain    bool // buf has ASCII only, and no NUL

	full       bool // the last read left no room in buf
	quietReads int
	err        error // from r, to be returned when buf is used up
}

const (
	firstBuffer = 4 << 10
	// maxQuietReads is how many times in a row a reader may return nothing and no error.
	maxQuietReads = 100
	bom           = "\uFEFF"
)

// next returns the next line without its end, if all of it was read. The line is valid until fill.
func (l *lineReader) next() ([]byte, bool) {
	start, end := l.start, l.lf
	if end >= len(l.buf) {
		return nil, false
	}
	l.skipTo(end + 1)
	line := l.buf[start:end:end]
	if !l.notFirst {
		l.notFirst = true
		line = bytes.TrimPrefix(line, []byte(bom))
	}
	return line, true
}

// skipTo makes what starts at i, behind an LF, the next line.
func (l *lineReader) skipTo(i int) {
	l.start, l.lineEnd = i, i-1
	// A blank line comes so often that it is worth a look before a search.
	if i < len(l.buf) && l.buf[i] == '\n' {
		l.lf = i
	} else {
		l.lf = indexFrom(l.buf, i, '\n')
	}
}

// span is a part of the buffer.
type span struct{ from, to int }

// lastSpan returns where the last n bytes of the line are that next returned last. It holds until fill.
func (l *lineReader) lastSpan(n int) span { return span{l.lineEnd - n, l.lineEnd} }

// pending returns how long the unfinished line is by now. A byte order mark before it does not count.
func (l *lineReader) pending() int {
	n := len(l.buf) - l.start
	if !l.notFirst && bytes.HasPrefix(l.buf, []byte(bom)) {
		n -= len(bom)
	}
	return n
}

// indexFrom returns the index of the first c in b at or after from, or len(b).
func indexFrom(b []byte, from int, c byte) int {
	if i := bytes.IndexByte(b[from:], c); i >= 0 {
		return from + i
	}
	return len(b)
}

// fill reads more, once next has no line left.
func (l *lineReader) fill() error {
	if l.err != nil {
		return l.err
	}
	l.makeRoom()
	old := len(l.buf)
	n, err := l.r.Read(l.buf[old:cap(l.buf)])
	l.full = old+n == cap(l.buf)
	l.buf = l.buf[:old+l.unifyEnds(l.buf[old:old+n])]
	l.lf = indexFrom(l.buf, old, '\n')
	l.plain = (l.plain || old == 0) && isPlain(l.buf[old:])
	l.err = err
	if n > 0 {
		l.quietReads = 0
	} else if err == nil {
		if l.quietReads++; l.quietReads >= maxQuietReads {
			l.err = io.ErrNoProgress
		}
	}
	return nil
}

// unifyEnds makes every CRLF and CR in b, which was just read, an LF, and returns how long b is then.
func (l *lineReader) unifyEnds(b []byte) int {
	n, i := 0, 0
	if l.skipLF && len(b) > 0 {
		l.skipLF = false
		if b[0] == '\n' {
			i = 1
		}
	}
	for {
		cr := indexFrom(b, i, '\r')
		if n != i {
			copy(b[n:], b[i:cr])
		}
		n += cr - i
		if cr == len(b) {
			return n
		}
		b[n] = '\n'
		n++
		i = cr + 1
		if i == len(b) {
			l.skipLF = true
		} else if b[i] == '\n' {
			i++
		}
	}
}

// isPlain tells whether b has ASCII only, and no NUL.
func isPlain(b []byte) bool {
	const low, high = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 32 {
		// A NUL becomes negative when 1 is taken from it.
		w0, w1 := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		w2, w3 := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
		if (w0|w1|w2|w3|(w0-low)|(w1-low)|(w2-low)|(w3-low))&high != 0 {
			return false
		}
		b = b[32:]
	}
	for _, c := range b {
		if c == 0 || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// makeRoom moves the unfinished line to the front of a buffer with room behind it. The buffer doubles when the last read
// filled it, up to maxKeptBuffer for speed and beyond that only for a longer line.
func (l *lineReader) makeRoom() {
	rest := l.buf[l.start:]
	size := cap(l.buf)
	switch {
	case size == 0:
		size = firstBuffer
	case l.full && (size < maxKeptBuffer || len(rest) > size/2):
		size *= 2
	case size > maxKeptBuffer && len(rest) < maxKeptBuffer/2:
		size = maxKeptBuffer
	}
	buf := l.buf[:cap(l.buf)]
	if size != len(buf) {
		buf = make([]byte, size)
	}
	l.buf, l.start = buf[:copy(buf, rest)], 0
}
