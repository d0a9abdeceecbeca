package natsbus

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
)

// A command is written as JSON, in which a name of control characters takes six times
// its bytes: a session with many such topics would not fit into any message,
// nor let the sessions register that come with it. So what is larger than a message
// should be is compressed, behind this byte.
const packed = 'z'

// maxUnpacked is how large a command may become that was compressed.
const maxUnpacked = 64 << 20

// messageLimit is how many bytes one message should have at most that is not of the
// log: most, or half of what the server takes.
func (l *link) messageLimit(most int) int {
	if n := int(l.nc.MaxPayload()) / 2; n > 0 {
		return min(most, n)
	}
	return most // not connected yet
}

// encode writes a command down, compressed if it is larger than limit.
func (c *command) encode(limit int) ([]byte, error) {
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	if err := e.Encode(c); err != nil {
		return nil, err
	}
	if plain.Len() <= limit {
		return plain.Bytes(), nil
	}
	small := bytes.NewBuffer([]byte{packed})
	w, err := gzip.NewWriterLevel(small, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain.Bytes()); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return small.Bytes(), nil
}

// unpack undoes what encode has done to the JSON of a command. It returns nil for what
// is none.
func unpack(data []byte) []byte {
	switch {
	case len(data) == 0:
		return nil
	case data[0] == '{':
		return data
	case data[0] != packed:
		return nil
	}
	r, err := gzip.NewReader(bytes.NewReader(data[1:]))
	if err != nil {
		return nil
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	if err != nil || len(plain) > maxUnpacked {
		return nil
	}
	return plain
}
