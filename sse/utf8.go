package sse

import (
	"encoding/binary"
	"unicode/utf8"
)

const replacement = "\uFFFD"

// toValid replaces what is not UTF-8 as the decoder of the Encoding standard does: one U+FFFD for each longest prefix
// of a valid sequence. (strings.ToValidUTF8 makes one of a whole run, a conversion to runes one of each byte.)
func toValid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string(appendValid(make([]byte, 0, len(s)+8), s))
}

// toString returns b as toValid does.
func toString(b []byte) string {
	if isASCII(b) || utf8.Valid(b) {
		return string(b)
	}
	return string(appendValid(make([]byte, 0, len(b)+8), b))
}

// isASCII looks at many bytes at a time, which is several times as fast as utf8.Valid.
func isASCII(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 32 {
		w := binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:]) |
			binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:])
		if w&high != 0 {
			return false
		}
		b = b[32:]
	}
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b)&high != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendValid appends s to b as toValid returns it.
func appendValid[T string | []byte](b []byte, s T) []byte {
	for i := 0; i < len(s); {
		n, ok := sequence(s[i:])
		if ok {
			b = append(b, s[i:i+n]...)
		} else {
			b = append(b, replacement...)
		}
		i += n
	}
	return b
}

// sequence returns the length of the UTF-8 sequence at the start of s, which is not empty, and whether it is valid. If
// not, the length is that of the part to be replaced by one U+FFFD. The bounds are those of Unicode, table 3-7.
func sequence[T string | []byte](s T) (int, bool) {
	low, high := byte(0x80), byte(0xBF)
	var need int
	switch c := s[0]; {
	case c < 0x80:
		return 1, true
	case c < 0xC2:
		return 1, false
	case c < 0xE0:
		need = 1
	case c < 0xF0:
		need = 2
		if c == 0xE0 {
			low = 0xA0
		}
		if c == 0xED {
			high = 0x9F
		}
	case c < 0xF5:
		need = 3
		if c == 0xF0 {
			low = 0x90
		}
		if c == 0xF4 {
			high = 0x8F
		}
	default:
		return 1, false
	}
	for i := 1; i <= need; i++ {
		if i >= len(s) || s[i] < low || s[i] > high {
			return i, false
		}
		low, high = 0x80, 0xBF
	}
	return need + 1, true
}
