package natsbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sseplane/sseplane/backplane"
)

// producer is what this log knows of a producer that publishes through it.
type producer struct {
	turn chan struct{} // holds one token, for who publishes

	// The rest belongs to the holder of the token.
	known  bool
	number uint64               // of its last batch
	result []backplane.Position // of its last batch, if all of it was accepted here
	last   uint64               // sequence of the last message on its batch subject
	wrote  uint64               // number and part of that message
	part   uint64
}

// Publish implements [backplane.Log].
//
// Entries without a key travel together in one message, so they are stored as
// a whole, next to each other. The server holds a producer to its order: each such
// message names the one before it. Messages with keys are each one message
// with the key as its id, and leave one behind the other without waiting; should the
// server refuse one in the middle (a change of the leader) it is sent again
// and then stands behind the others.
func (l *busLog) Publish(ctx context.Context, b backplane.Batch) (positions []backplane.Position, err error) {
	if err := validate(b); err != nil {
		return nil, err
	}
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err = leave(err); err != nil {
			positions = nil
		}
	}()
	p := l.producer(b.Producer)
	select {
	case <-p.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { p.turn <- struct{}{} }()

	if err := l.ensureLog(ctx); err != nil {
		return nil, err
	}
	parts, err := l.parts(b)
	if err != nil {
		return nil, err
	}
	if err := l.recall(ctx, p, b.Producer); err != nil {
		return nil, err
	}
	switch {
	case b.Number < p.number:
		return nil, backplane.ErrOldBatch
	case b.Number == p.number && p.result != nil:
		if len(p.result) != len(b.Messages) {
			return nil, errOtherContent
		}
		return slices.Clone(p.result), nil
	}
	if b.Number > p.number {
		p.number, p.result = b.Number, nil
	}

	seqs, e, err := l.accept(ctx, p, b, parts)
	if err != nil {
		return nil, err
	}
	positions = make([]backplane.Position, len(b.Messages))
	for i, part := range parts {
		n := len(part.frame.data)
		for j := range n {
			positions[part.first+j] = backplane.Position{Epoch: e.Epoch, Seq: place(seqs[i], n-1-j), Tag: part.frame.tag}
		}
	}
	p.result = slices.Clone(positions)
	return positions, nil
}

func (l *busLog) producer(id string) *producer {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.producers[id]
	if p == nil {
		p = &producer{turn: make(chan struct{}, 1)}
		p.turn <- struct{}{}
		l.producers[id] = p
	}
	return p
}

// recall finds what the log says of a producer that this log has not seen yet.
func (l *busLog) recall(ctx context.Context, p *producer, id string) error {
	if p.known {
		return nil
	}
	last, err := l.lastOf(ctx, l.names.batches(id))
	if err != nil {
		return err
	}
	keyed, err := l.lastOf(ctx, l.names.keyed(id))
	if err != nil {
		return err
	}
	p.known = true
	p.number = max(p.number, last.number, keyed.number)
	p.stands(last.seq, last.number, last.part)
	return nil
}

// stands notes what the producer's last message is.
func (p *producer) stands(seq, number, part uint64) { p.last, p.wrote, p.part = seq, number, part }

// lastOf returns the newest message on a subject, from the leader; the zero value
// if there is none.
func (l *busLog) lastOf(ctx context.Context, subject string) (decoded, error) {
	var m stored
	err := l.try(ctx, func(ctx context.Context) (err error) {
		m, err = l.get(ctx, map[string]any{"last_by_subj": subject})
		return err
	})
	if code(err) == codeMessageNotFound {
		return decoded{}, nil
	}
	if err != nil {
		return decoded{}, err
	}
	return m.decode()
}

// publishParts stores the parts, and returns the sequence of each. It calls sent
// when something is on its way.
func (l *busLog) publishParts(ctx context.Context, p *producer, b backplane.Batch, parts []part, sent func()) ([]uint64, error) {
	var largest int64
	for i := range parts {
		largest = max(largest, parts[i].size())
	}
	if err := l.makeRoom(ctx, largest); err != nil {
		return nil, err
	}
	seqs := make([]uint64, len(parts))
	for i := 0; i < len(parts); {
		if parts[i].key == "" {
			seq, err := l.publishBatch(ctx, p, b, &parts[i], sent)
			if err != nil {
				return nil, err
			}
			seqs[i] = seq
			i++
			continue
		}
		run := i + 1
		for run < len(parts) && parts[run].key != "" {
			run++
		}
		if err := l.publishKeyed(ctx, b.Producer, parts[i:run], seqs[i:run], sent); err != nil {
			return nil, err
		}
		i = run
	}
	return seqs, nil
}

// publishBatch stores a part without keys behind the producer's last, until
// that has succeeded or ctx ends.
func (l *busLog) publishBatch(ctx context.Context, p *producer, b backplane.Batch, part *part, sent func()) (uint64, error) {
	subject, data := l.names.batches(b.Producer), part.frame.bytes()
	id := fmt.Sprintf("b-%s-%d-%d", token(b.Producer), b.Number, part.frame.part)
	f := &part.frame
	var seq uint64
	err := l.try(ctx, func(ctx context.Context) error {
		if p.last != 0 && p.wrote == f.number && p.part >= f.part {
			if p.part == f.part {
				seq = p.last
				return nil
			}
			return fatal{errPassed}
		}
		m := nats.NewMsg(subject)
		m.Header.Set(jetstream.MsgIDHeader, id)
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(p.last, 10))
		m.Data = data
		a, err := l.send(ctx, m, sent)
		switch {
		case err == nil:
			seq = a.Sequence
			p.stands(a.Sequence, f.number, f.part)
			return nil
		case code(err) == codeWrongLastSequence, code(err) == codeWrongLastConstant:
			err = l.resolve(ctx, p, subject, f)
		}
		return err
	})
	return seq, err
}

// send stores a message, in one try, and calls sent when it is on its way.
func (l *busLog) send(ctx context.Context, m *nats.Msg, sent func()) (a ack, err error) {
	q := l.writer.ask(1)
	defer q.close()
	began := time.Now()
	if err := q.send(0, m); err != nil {
		return a, fmt.Errorf("natsbus: publish: %w", err)
	}
	sent()
	timer := time.NewTimer(publishTimeout)
	defer timer.Stop()
	select {
	case answer := <-q.answers:
		a, err = parseAck(answer.msg)
	case <-timer.C:
		err = l.main.explain(nats.ErrTimeout, began)
	case <-ctx.Done():
		return a, l.main.explain(ctx.Err(), began)
	}
	l.main.judge(a, err, began, ctx)
	return a, err
}

var (
	errBehind = errors.New("natsbus: the server refused the order of the producer's batches")
	errPassed = errors.New("natsbus: a later part of the batch is in the log")
	// errDivided: the rest can not be stored in order any more.
	errDivided = errors.New("natsbus: a part of the batch was lost with the log's history")
)

// resolve finds out what the producer's last message is, because the server
// says that it is another than was thought: this part, sent before, or one that the
// retention has let go of. What it returns says whether another try can help.
func (l *busLog) resolve(ctx context.Context, p *producer, subject string, f *frame) error {
	last, err := l.lastOf(ctx, subject)
	if err != nil {
		return err
	}
	p.stands(last.seq, last.number, last.part)
	if last.number > f.number {
		return fatal{backplane.ErrOldBatch}
	}
	return errBehind
}
