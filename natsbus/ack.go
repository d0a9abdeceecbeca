package natsbus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ack is the server's answer to a message that was stored, or was before.
type ack struct {
	Sequence  uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
}

// publishTimeout is how long one try to store a message may take. The message is
// then sent again, with the same id, so it counts once.
const publishTimeout = time.Second

// noResponders is the status of an answer that says that nobody listens.
const noResponders = "503"

func parseAck(m *nats.Msg) (ack, error) {
	var a struct {
		apiReply
		ack
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == noResponders {
		return ack{}, nats.ErrNoResponders
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return ack{}, fmt.Errorf("natsbus: acknowledgement: %w", err)
	}
	if a.Error != nil {
		return ack{}, fmt.Errorf("natsbus: publish: %w", a.Error)
	}
	if a.Sequence == 0 {
		return ack{}, errors.New("natsbus: acknowledgement without a sequence")
	}
	return a.ack, nil
}

// publish stores a message, in one try.
func (l *link) publish(ctx context.Context, m *nats.Msg, timeout time.Duration) (ack, error) {
	sent := time.Now()
	answer, err := l.request(ctx, m, timeout)
	var a ack
	if err == nil {
		a, err = parseAck(answer)
	}
	l.judge(a, err, sent, ctx)
	return a, err
}

// judge draws from the answer to a stored message whether the server that this
// link is connected to has a quorum behind it. A duplicate proves nothing, and
// that a caller has given up says nothing.
func (l *link) judge(a ack, err error, sent time.Time, ctx context.Context) {
	switch {
	case err == nil && !a.Duplicate:
		l.answered()
	case err != nil && code(err) == 0 && transient(err) && ctx.Err() == nil:
		l.unanswered(sent)
	}
}

// marked is where a mark stands.
type marked struct {
	seq uint64
	tag uint16
	dup bool
}

// mark stores a mark of its own at the end of the log, for as long as ctx lasts. That
// it was stored proves that the log reaches that far.
func (l *busLog) mark(ctx context.Context, kind frameKind, id string) (marked, error) {
	if id == "" {
		id = rand.Text()
	}
	var at marked
	err := l.try(ctx, func(ctx context.Context) (err error) {
		at, err = l.markOnce(ctx, l.main, kind, id, publishTimeout)
		return err
	})
	return at, err
}

// markOnce stores a mark with that id, in one try.
func (l *busLog) markOnce(ctx context.Context, on *link, kind frameKind, id string, timeout time.Duration) (marked, error) {
	f := frame{kind: kind, tag: tagOf("mark", id)}
	m := nats.NewMsg(l.names.mark())
	m.Header.Set(jetstream.MsgIDHeader, "m-"+id)
	m.Data = f.bytes()
	a, err := on.publish(ctx, m, timeout)
	return marked{seq: a.Sequence, tag: f.tag, dup: a.Duplicate}, err
}

// beatOnce stores a beat over the connection that is followed on, in one try.
func (l *busLog) beatOnce(ctx context.Context, id string) (marked, error) {
	if id == "" {
		id = rand.Text()
	}
	return l.markOnce(ctx, l.feed, frameBeat, id, beatTimeout)
}
