package redisbus

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
)

// chunk is an element of the stream that a node has written: entries that were
// published together and are numbered one after the other.
type chunk struct {
	prev    uint64            // the entry before the first one
	size    int               // of the data of all
	entries []backplane.Entry // valid until the next one is read
}

func (c *chunk) first() backplane.Position { return c.entries[0].Position }

func (c *chunk) last() backplane.Position { return c.entries[len(c.entries)-1].Position }

// parseChunk reads an element of the stream; its entries go to the place of scratch. ok is
// false for one that no node has written: it is no part of the log.
func parseChunk(m redis.XMessage, scratch []backplane.Entry) (c chunk, ok bool) {
	id, zero := strings.CutSuffix(m.ID, "-0")
	element, _ := m.Values["e"].(string)
	head, text, known := strings.Cut(element, "\n")
	if !zero || !known || len(m.Values) != 1 {
		return c, false
	}
	// The head is the epoch, the number before, how far the id was ahead of the clock, and
	// how many entries there are.
	epoch, head, _ := strings.Cut(head, " ")
	prev, head, _ := strings.Cut(head, " ")
	ahead, count, _ := strings.Cut(head, " ")
	last, err1 := strconv.ParseUint(id, 10, 63)
	before, err2 := strconv.ParseUint(prev, 10, 63)
	lead, err3 := strconv.ParseInt(ahead, 10, 64)
	n, err4 := strconv.ParseUint(count, 10, 32)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || epoch == "" || n == 0 || n*lengthSize > uint64(len(text)) || before+n > last {
		return c, false
	}
	c.prev = before
	c.entries = scratch[:0]
	at := time.UnixMicro(int64(last) - lead)
	// The text came with this reply, nobody else has it, and nobody will write to it.
	data := unsafe.Slice(unsafe.StringData(text), len(text))
	for seq := last - n + 1; seq <= last; seq++ {
		if len(data) < lengthSize {
			return c, false
		}
		size := int(binary.BigEndian.Uint32(data))
		if data = data[lengthSize:]; len(data) < size {
			return c, false
		}
		c.entries = append(c.entries, backplane.Entry{
			Position: backplane.Position{Epoch: epoch, Seq: seq},
			Time:     at,
			Data:     data[:size:size],
		})
		c.size += size
		data = data[size:]
	}
	return c, len(data) == 0
}

// streamID is the id of the element at a position.
func streamID(seq uint64) string { return strconv.FormatUint(seq, 10) + "-0" }

// chain follows a log from entry to entry.
type chain struct {
	at backplane.Position // the entry read last
}

// next accepts the chunk behind the entry read last, or that holds it and more, and returns
// its entries that are behind it; or it returns why it is not that: ErrTrimmed or ErrEpoch.
// acked, if there is one, is a position that the log must have.
func (l *chain) next(c *chunk, acked *backplane.Position) ([]backplane.Entry, error) {
	first, last := c.first(), c.last()
	behind := c.entries
	switch {
	case first.Epoch != l.at.Epoch:
		return nil, backplane.ErrEpoch
	case first.Seq <= l.at.Seq && l.at.Seq < last.Seq:
		behind = c.entries[l.at.Seq-first.Seq+1:]
	case c.prev < l.at.Seq:
		return nil, backplane.ErrEpoch
	case c.prev > l.at.Seq:
		return nil, backplane.ErrTrimmed
	case acked != nil && acked.Epoch == l.at.Epoch && l.at.Seq < acked.Seq && acked.Seq < first.Seq:
		return nil, backplane.ErrEpoch
	}
	l.at = last
	return behind, nil
}

// foreign counts elements that no node has written, and reports them once a minute.
func (l *log) foreign(m redis.XMessage) {
	n := l.bus.foreign.Add(1)
	now := time.Now().Unix()
	if was := l.warned.Load(); now-was >= 60 && l.warned.CompareAndSwap(was, now) {
		l.bus.opts.logger.Warn("redisbus: the stream has entries that no node has written; they are skipped",
			"key", l.keys.log, "id", m.ID, "count", n)
	}
}
