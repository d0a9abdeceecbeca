package sse

import "strings"

const (
	shortString = 128
	slabSize    = 1 << 10
)

// stringMaker turns bytes into strings. Short ones share an allocation of a kilobyte, which is the most that a string
// that somebody keeps can hold on to.
type stringMaker struct {
	slab strings.Builder
}

// make returns a copy of b as valid UTF-8. That b is ASCII is known to the caller, or not.
func (m *stringMaker) make(b []byte, ascii bool) string {
	if len(b) == 0 {
		return ""
	}
	if !ascii {
		return toString(b)
	}
	if len(b) > shortString {
		return string(b)
	}
	// A Builder never changes what it has given out, so its string can be shared while it grows.
	if m.slab.Cap()-m.slab.Len() < len(b) {
		m.slab = strings.Builder{}
		m.slab.Grow(slabSize)
	}
	from := m.slab.Len()
	m.slab.Write(b)
	return m.slab.String()[from:]
}
