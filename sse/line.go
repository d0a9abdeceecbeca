package sse

import (
	"bytes"
	"fmt"
	"io"
)

// lineReader cuts a stream into lines that end in LF, CRLF or CR, and drops one leading byte order mark.
//
// The next LF and the next CR are each looked for once, however the stream mixes them, so that no input makes the search
// take longer than its length.
type lineReader struct {
	r   io.Reader
	max int

	buf        []byte // buf[start:] is read and not yet returned
	start      int
	lf, cr     int  // index of the first LF and CR at or after start, or len(buf) when there is none
	skipLF     bool // the last line ended in CR: an LF that follows belongs to it
	notFirst   bool // the byte order mark can come no more
	quietReads int
	err        error // from r, to be returned when buf is used up
}

const (
	firstBuffer = 4 << 10
	// maxQuietReads is how many times in a row a reader may return nothing and no error.
	maxQuietReads = 100
)

// next returns the next line without its end. It is valid until the next call that has to read, see buffered.
func (l *lineReader) next() ([]byte, error) {
	for {
		if l.skipLF && l.start < len(l.buf) {
			l.skipLF = false
			if l.buf[l.start] == '\n' {
				l.start++
				l.find()
			}
		}
		end := min(l.lf, l.cr)
		if end < len(l.buf) {
			return l.cut(end)
		}
		// One byte order mark does not count as part of the line.
		if len(l.buf)-l.start > l.max+len(bom) {
			return nil, l.tooLong()
		}
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
}

const bom = "\uFEFF"

func (l *lineReader) cut(end int) ([]byte, error) {
	line := l.buf[l.start:end:end]
	l.skipLF = l.buf[end] == '\r'
	l.start = end + 1
	l.find()
	if !l.notFirst {
		l.notFirst = true
		line = bytes.TrimPrefix(line, []byte(bom))
	}
	if len(line) > l.max {
		return nil, l.tooLong()
	}
	return line, nil
}

func (l *lineReader) tooLong() error {
	return fmt.Errorf("%w: more than %d bytes", ErrLineTooLong, l.max)
}

// buffered tells whether next can return a line without reading, so that earlier lines stay valid.
func (l *lineReader) buffered() bool {
	end := min(l.lf, l.cr)
	if l.skipLF && l.start < len(l.buf) && end == l.start && l.buf[end] == '\n' {
		// This LF belongs to the line before.
		return bytes.IndexByte(l.buf[end+1:], '\n') >= 0 || l.cr < len(l.buf)
	}
	return end < len(l.buf)
}

// partial tells whether bytes of an unfinished line are left.
func (l *lineReader) partial() bool { return l.start < len(l.buf) }

// find makes lf and cr right again after start has moved.
func (l *lineReader) find() {
	if l.lf < l.start {
		l.lf = indexFrom(l.buf, l.start, '\n')
	}
	if l.cr < l.start {
		l.cr = indexFrom(l.buf, l.start, '\r')
	}
}

// indexFrom returns the index of the first c in b at or after from, or len(b).
func indexFrom(b []byte, from int, c byte) int {
	if i := bytes.IndexByte(b[from:], c); i >= 0 {
		return from + i
	}
	return len(b)
}

// fill reads more behind buf[start:], which has no line end.
func (l *lineReader) fill() error {
	if l.err != nil {
		return l.err
	}
	l.makeRoom()
	old := len(l.buf)
	n, err := l.r.Read(l.buf[old:cap(l.buf)])
	l.buf = l.buf[:old+n]
	l.lf, l.cr = indexFrom(l.buf, old, '\n'), indexFrom(l.buf, old, '\r')
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

// makeRoom moves the unfinished line to the front of a buffer with room behind it. The buffer doubles when the last read
// filled it, up to maxKeptBuffer for speed and beyond that only for a longer line.
func (l *lineReader) makeRoom() {
	left := len(l.buf) - l.start
	size := cap(l.buf)
	switch {
	case size == 0:
		size = firstBuffer
	case len(l.buf) == size && (size < maxKeptBuffer || left > size/2):
		size *= 2
	case size > maxKeptBuffer && left < maxKeptBuffer/2:
		size = maxKeptBuffer
	}
	if size == cap(l.buf) {
		copy(l.buf[:left], l.buf[l.start:])
		l.buf = l.buf[:left]
	} else {
		buf := make([]byte, left, size)
		copy(buf, l.buf[l.start:])
		l.buf = buf
	}
	l.start = 0
}
