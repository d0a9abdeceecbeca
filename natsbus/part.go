package natsbus

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/sseplane/sseplane/backplane"
)

// headerRoom is what the headers of a message may take of the server's maximum
// payload, which counts them too.
const headerRoom = 512

// partBytes is about how much one message holds at most, so that the retention
// lets go of entries in small portions.
const partBytes = 128 << 10

// part is a message to be: a run of entries without keys, or one entry with one.
type part struct {
	first int // index of its first entry in the batch
	key   string
	frame frame
}

// size returns about how much of the stream's bytes the part will take.
func (p *part) size() int64 {
	n := int64(headerRoom + frameOverhead)
	for _, data := range p.frame.data {
		n += int64(len(data)) + entryOverhead
	}
	return n
}

var errOtherContent = errors.New("natsbus: batch is repeated with other content")

func validate(b backplane.Batch) error {
	if err := backplane.ValidName(b.Producer); err != nil {
		return fmt.Errorf("natsbus: producer: %w", err)
	}
	if b.Number == 0 {
		return errors.New("natsbus: batch has no number")
	}
	if len(b.Messages) == 0 {
		return errors.New("natsbus: batch is empty")
	}
	for i := range b.Messages {
		if !validKey(b.Messages[i].Key) {
			return fmt.Errorf("natsbus: key %q is not at most 64 of [0-9A-Za-z_-]", b.Messages[i].Key)
		}
	}
	return nil
}

func validKey(key string) bool {
	for i := range len(key) {
		c := key[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return len(key) <= 64
}

// parts divides a batch into messages.
func (l *busLog) parts(b backplane.Batch) ([]part, error) {
	limit := l.main.nc.MaxPayload() - headerRoom - frameOverhead - entryOverhead
	target := min(limit, partBytes, l.cfg.RetentionBytes/16)
	number := strconv.FormatUint(b.Number, 10)
	var out []part
	var size int64
	for i := range b.Messages {
		m := &b.Messages[i]
		length := int64(len(m.Data))
		if length > limit {
			return nil, fmt.Errorf("%w: %d bytes, of %d", backplane.ErrTooLarge, length, limit)
		}
		if n := len(out); m.Key == "" && n > 0 && out[n-1].key == "" && len(out[n-1].frame.data) < maxEntries && size+length+entryOverhead <= target {
			out[n-1].frame.data = append(out[n-1].frame.data, m.Data)
			size += length + entryOverhead
			continue
		}
		p := part{first: i, key: m.Key, frame: frame{kind: frameBatch, number: b.Number, part: uint64(len(out)), data: [][]byte{m.Data}}}
		if m.Key != "" {
			p.frame.tag = tagOf("key", m.Key)
		} else {
			p.frame.tag = tagOf("batch", b.Producer, number, strconv.Itoa(len(out)))
		}
		out = append(out, p)
		size = length + entryOverhead
	}
	return out, nil
}
