package redisbus

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// Bounds implements [backplane.Log].
func (l *log) Bounds(ctx context.Context) (backplane.Bounds, error) {
	return l.bounds(ctx, "bounds", "")
}

// NewEpoch implements [backplane.Log].
func (l *log) NewEpoch(ctx context.Context, old string) (backplane.Bounds, error) {
	return l.bounds(ctx, "new epoch", old)
}

func (l *log) bounds(ctx context.Context, what, leave string) (backplane.Bounds, error) {
	if err := l.enter(ctx); err != nil {
		return backplane.Bounds{}, err
	}
	defer l.work.Done()
	reply, err := l.call(ctx, what, boundsScript, []string{l.keys.meta, l.keys.log, l.keys.marks},
		newEpoch(), leave, l.ttl.Milliseconds())
	if err != nil {
		return backplane.Bounds{}, err
	}
	r := replies{list: reply}
	epoch := r.text()
	b := backplane.Bounds{
		Epoch: epoch,
		Began: backplane.Position{Epoch: epoch, Seq: r.number()},
		First: backplane.Position{Epoch: epoch, Seq: r.number()},
		Last:  backplane.Position{Epoch: epoch, Seq: r.number()},
	}
	if r.err != nil {
		return backplane.Bounds{}, fmt.Errorf("redisbus: %s: %w", what, r.err)
	}
	l.moves(b.Epoch)
	return b, nil
}

// state is what a server says of the log.
type state struct {
	epoch       string // empty: there is no record
	began, last uint64
	until       time.Time // when the keys expire, unless they are renewed
	now         time.Time
	since       time.Time // when the epoch began
	batch       uint64    // the newest of the producer that was asked about; 0: none is known
	forgot      uint64    // the time of the newest batch that the server has forgotten, in microseconds
	lost        bool      // it has not got what it, or another server, had accepted of that producer
}

// trimLength is the length of the field trim, whose last number is forgot: see meta.lua.
const trimLength = 6 * 8

func parseState(reply []any) (state, error) {
	r := replies{list: reply}
	if len(reply) >= 5 && reply[0] == nil {
		r.list = reply[4:]
		s := state{now: r.time()}
		return s, r.err
	}
	s := state{epoch: r.text(), began: r.number(), last: r.number(), until: r.time(), now: r.time()}
	if len(r.list) > 2 {
		if r.list[0] != nil { // or it is not known when the epoch began: long ago
			s.since = r.time()
		} else {
			r.list = r.list[1:]
		}
		if kept, _ := r.list[0].(string); kept != "" {
			newest, _, err := parseAccepted("", kept)
			if err != nil {
				return s, err
			}
			s.batch = newest.number
		}
		if trim, _ := r.list[1].(string); len(trim) == trimLength {
			s.forgot = binary.BigEndian.Uint64([]byte(trim[trimLength-8:]))
		}
	}
	return s, r.err
}

// lacks reports whether the history that p belongs to is gone, as far as the
// state tells.
func (s state) lacks(p backplane.Position) bool {
	return s.epoch == "" || p.Epoch != s.epoch || p.Seq < s.began || p.Seq > s.last
}

// lacksAcked reports whether something is gone that was acknowledged to a
// publisher of this node.
func (s state) lacksAcked(acked *backplane.Position) bool {
	return acked != nil && acked.Epoch == s.epoch && acked.Seq > s.last
}

// gone reports whether a server's history lacks what a follower has read, or what was accepted of
// this node.
func (l *log) gone(s state, read backplane.Position, acked *backplane.Position) bool {
	epoch := l.lost.Load()
	return s.lacks(read) || s.lacksAcked(acked) || s.lost || epoch != nil && *epoch == s.epoch
}

// observe takes the server's time from a state that was asked for at a time.
func (l *log) observe(s state, asked time.Time) {
	l.clock.Store(int64(s.now.Sub(asked.Add(time.Since(asked) / 2))))
}

// serverNow is the time of the server, as well as it is known.
func (l *log) serverNow() time.Time { return time.Now().Add(time.Duration(l.clock.Load())) }

// replies reads the elements of a reply one by one.
type replies struct {
	list []any
	err  error
}

func (r *replies) text() string {
	if len(r.list) > 0 {
		switch v := r.list[0].(type) {
		case string:
			r.list = r.list[1:]
			return v
		case int64:
			r.list = r.list[1:]
			return strconv.FormatInt(v, 10)
		}
	}
	if r.err == nil {
		r.err = fmt.Errorf("unexpected reply %.80v", r.list)
	}
	return ""
}

func (r *replies) number() uint64 {
	text := r.text()
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		r.err = err
	}
	return n
}

func (r *replies) time() time.Time { return time.UnixMicro(int64(r.number())) }
