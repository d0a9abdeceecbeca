package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sseplane/sseplane/backplane"
)

// readBatch is how many messages one request asks for, readTimeout how long the
// server may be silent within an answer: a frozen replica does not answer, another one does.
const (
	readBatch   = 1000
	readBytes   = 8 << 20
	readTimeout = 500 * time.Millisecond
)

// get reads one message from the leader of the log's stream.
func (l *busLog) get(ctx context.Context, ask map[string]any) (stored, error) {
	return l.getFrom(ctx, l.names.log, ask)
}

// getFrom reads one message from the leader of a stream.
func (l *busLog) getFrom(ctx context.Context, stream string, ask map[string]any) (stored, error) {
	var answer struct {
		Message struct {
			Seq  uint64    `json:"seq"`
			Data []byte    `json:"data"`
			Time time.Time `json:"time"`
		} `json:"message"`
	}
	if err := l.main.api(ctx, "STREAM.MSG.GET."+stream, ask, &answer); err != nil {
		return stored{}, err
	}
	m := &answer.Message
	return stored{seq: m.Seq, time: m.Time.UnixNano(), payload: m.Data}, nil
}

// Direct gets are answered by any server that holds the stream.
type directGet struct {
	Seq       uint64     `json:"seq,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	Next      string     `json:"next_by_subj,omitempty"`
	Batch     int        `json:"batch,omitempty"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
}

var (
	errBroken = errors.New("natsbus: answer is incomplete")
	errSilent = errors.New("natsbus: no server answers reads")
)

// fetch asks a stream for messages, from any server that has it. It returns none,
// and no error, when that server has none. What it returns may be stale.
func (l *busLog) fetch(ctx context.Context, stream string, ask directGet) ([]stored, error) {
	if err := l.feed.await(ctx); err != nil {
		return nil, err
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	q := l.reader.ask(ask.Batch + 1)
	defer q.close()
	sent := time.Now()
	if err := q.send(0, &nats.Msg{Subject: apiPrefix + "DIRECT.GET." + stream, Data: body}); err != nil {
		return nil, err
	}
	timer := time.NewTimer(readTimeout)
	defer timer.Stop()
	var out []stored
	for {
		select {
		case a := <-q.answers:
			if len(a.msg.Header["Nats-Sequence"]) == 0 { // the end, or a refusal
				switch status := a.msg.Header.Get("Status"); status {
				case "204", "404":
					return out, nil
				case noResponders:
					return nil, nats.ErrNoResponders
				default:
					return nil, fmt.Errorf("natsbus: read of %s: %s %s", stream, status, a.msg.Header.Get("Description"))
				}
			}
			m, err := parseStored(a.msg)
			if err != nil {
				return nil, err
			}
			out = append(out, m)
			timer.Reset(readTimeout)
		case <-timer.C:
			return nil, l.feed.explain(errSilent, sent)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// parseStored reads an answer to a direct get. The last value of each header is
// the server's; others came from whoever published.
func parseStored(m *nats.Msg) (stored, error) {
	last := func(name string) string {
		if v := m.Header[name]; len(v) > 0 {
			return v[len(v)-1]
		}
		return ""
	}
	seq, err := strconv.ParseUint(last("Nats-Sequence"), 10, 64)
	if err != nil {
		return stored{}, errBroken
	}
	at, err := time.Parse(time.RFC3339Nano, last("Nats-Time-Stamp"))
	if err != nil {
		return stored{}, errBroken
	}
	return stored{seq: seq, time: at.UnixNano(), payload: m.Data}, nil
}

// run reads messages from sequence from on, as far as they are contiguous.
func (l *busLog) run(ctx context.Context, stream string, from uint64, count int) ([]stored, error) {
	out, err := l.fetch(ctx, stream, directGet{Seq: max(from, 1), Batch: count, MaxBytes: readBytes})
	for i := 1; i < len(out); i++ {
		if out[i].seq != out[i-1].seq+1 {
			return out[:i], err
		}
	}
	return out, err
}

// Read implements [backplane.Log].
func (l *busLog) Read(ctx context.Context, after backplane.Position, maxBytes int) (page backplane.Page, err error) {
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return page, err
	}
	defer func() { err = leave(err) }()
	e, err := l.epochNow(ctx)
	if err != nil {
		return page, err
	}
	if err := e.contains(after); err != nil {
		return page, err
	}
	err = l.try(ctx, func(ctx context.Context) (err error) {
		page, err = l.readPage(ctx, after, maxBytes)
		return err
	})
	return page, err
}

// readPage reads what is behind after, up to maxBytes.
func (l *busLog) readPage(ctx context.Context, after backplane.Position, maxBytes int) (backplane.Page, error) {
	b := newPageBuilder(after, maxBytes)
	at := anchor{Position: after}
	ask, _ := message(after.Seq)
	for first := true; ; first = false {
		run, err := l.run(ctx, l.names.log, ask, readBatch)
		if err != nil {
			return b.page, err
		}
		b.page.Now = l.clock.now()
		if first {
			if err := l.check(ctx, at, run); err != nil {
				return b.page, err
			}
		} else if len(run) > 0 && run[0].seq != ask {
			return b.page, nil // trimmed meanwhile: the next Read says so
		}
		for i := range run {
			d, err := run[i].decode()
			if err != nil {
				return b.page, err
			}
			if !b.add(&d) {
				return b.page, nil
			}
		}
		if len(run) == 0 {
			return b.page, nil
		}
		ask = run[len(run)-1].seq + 1
	}
}

// pageBuilder makes a page of messages.
type pageBuilder struct {
	page backplane.Page
	max  int // of bytes
	size int
}

func newPageBuilder(after backplane.Position, maxBytes int) pageBuilder {
	return pageBuilder{page: backplane.Page{After: after, Upto: after}, max: maxBytes}
}

// add appends what of a message is behind the page's end, as many entries as
// fit, but one in any case. It returns false when the page is full.
func (b *pageBuilder) add(d *decoded) bool {
	p := &b.page
	n := len(d.data)
	switch seq, behind := message(p.Upto.Seq); {
	case d.seq < seq:
		return true
	case d.seq == seq:
		n = behind
		if n == 0 {
			return true
		}
	}
	fit := 0
	for _, data := range d.data[len(d.data)-n:] {
		if b.size += len(data); b.size > b.max && len(p.Entries)+fit > 0 {
			break
		}
		fit++
	}
	p.Entries = d.appendEntries(p.Entries, p.Upto.Epoch, len(d.data)-n, fit)
	if fit < n {
		p.Upto = p.Entries[len(p.Entries)-1].Position
		return false
	}
	p.Upto = d.end(p.Upto.Epoch)
	return true
}
