package redisbus

import (
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
)

// entry is an element of the stream that a node has written.
type entry struct {
	backplane.Entry
	prev uint64 // its predecessor
}

// parseEntry reads an element of the stream. ok is false for one that no node has
// written: it is no part of the log.
func parseEntry(m redis.XMessage) (e entry, ok bool) {
	id, zero := strings.CutSuffix(m.ID, "-0")
	epoch, _ := m.Values["e"].(string)
	prev, _ := m.Values["p"].(string)
	ahead, _ := m.Values["t"].(string)
	data, known := m.Values["d"].(string)
	if !zero || !known || epoch == "" || len(m.Values) != 4 {
		return entry{}, false
	}
	seq, err1 := strconv.ParseUint(id, 10, 63)
	before, err2 := strconv.ParseUint(prev, 10, 63)
	// How far the id was ahead of the clock.
	lead, err3 := strconv.ParseInt(ahead, 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || before >= seq {
		return entry{}, false
	}
	e.Position = backplane.Position{Epoch: epoch, Seq: seq}
	e.Time = time.UnixMicro(int64(seq) - lead)
	e.Data = []byte(data)
	if e.Data == nil {
		e.Data = []byte{}
	}
	e.prev = before
	return e, true
}

// streamID is the id of the element at a position.
func streamID(seq uint64) string { return strconv.FormatUint(seq, 10) + "-0" }

// chain follows a log from entry to entry.
type chain struct {
	at backplane.Position // the entry read last
}

// next accepts the entry behind the one read last, or returns why it is not that:
// ErrTrimmed or ErrEpoch. acked, if there is one, is a position that the log must have.
func (c *chain) next(e *entry, acked *backplane.Position) error {
	switch {
	case e.Position.Epoch != c.at.Epoch || e.prev < c.at.Seq:
		return backplane.ErrEpoch
	case e.prev > c.at.Seq:
		return backplane.ErrTrimmed
	case acked != nil && acked.Epoch == c.at.Epoch && c.at.Seq < acked.Seq && acked.Seq < e.Position.Seq:
		return backplane.ErrEpoch
	}
	c.at = e.Position
	return nil
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
