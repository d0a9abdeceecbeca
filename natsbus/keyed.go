package natsbus

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// publishKeyed stores parts with keys, in order, and puts their sequences into
// seqs.
func (l *busLog) publishKeyed(ctx context.Context, producer string, parts []part, seqs []uint64, sent func()) error {
	subject := l.names.keyed(producer)
	for from := range slices.Chunk(parts, keyedUnderWay) {
		at := seqs[:len(from)]
		seqs = seqs[len(from):]
		err := l.try(ctx, func(ctx context.Context) error { return l.sendKeyed(ctx, subject, from, at, sent) })
		if err != nil {
			return err
		}
	}
	return nil
}

// keyedUnderWay is how many messages with keys are under way at once: as many as
// the server takes together without a pause.
const keyedUnderWay = 512

// sendKeyed sends those parts that have no sequence yet, and takes the answers.
func (l *busLog) sendKeyed(ctx context.Context, subject string, parts []part, seqs []uint64, sent func()) error {
	q := l.writer.ask(len(parts))
	defer q.close()
	began := time.Now()
	waiting := 0
	for i := range parts {
		if seqs[i] != 0 {
			continue
		}
		m := nats.NewMsg(subject)
		m.Header.Set(jetstream.MsgIDHeader, "k-"+parts[i].key)
		m.Data = parts[i].frame.bytes()
		if err := q.send(i, m); err != nil {
			return err
		}
		waiting++
	}
	sent()
	timer := time.NewTimer(publishTimeout)
	defer timer.Stop()
	var failed error
	for ; waiting > 0; waiting-- {
		select {
		case answer := <-q.answers:
			a, err := parseAck(answer.msg)
			l.main.judge(a, err, began, ctx)
			if err == nil {
				seqs[answer.n] = a.Sequence
			} else if failed == nil || transient(failed) {
				failed = err
			}
		case <-timer.C:
			l.main.unanswered(began)
			return l.main.explain(nats.ErrTimeout, began)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return failed
}
