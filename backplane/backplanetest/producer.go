package backplanetest

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/sseplane/sseplane/backplane"
)

// producer publishes batches with rising numbers.
type producer struct {
	e    *env
	log  backplane.Log
	id   string
	last backplane.Batch
}

func (e *env) producer(l backplane.Log) *producer {
	return &producer{e: e, log: l, id: rand.Text()}
}

// batch makes the next batch.
func (p *producer) batch(messages ...backplane.Message) backplane.Batch {
	p.last = backplane.Batch{Producer: p.id, Number: p.last.Number + 1, Messages: messages}
	return p.last
}

// try publishes data as the next batch.
func (p *producer) try(ctx context.Context, data ...string) ([]backplane.Position, error) {
	return publish(ctx, p.log, p.batch(messages(data...)...))
}

// publish publishes data as the next batch.
func (p *producer) publish(data ...string) []backplane.Position {
	p.e.Helper()
	return p.send(messages(data...)...)
}

// send publishes messages as the next batch.
func (p *producer) send(messages ...backplane.Message) []backplane.Position {
	p.e.Helper()
	positions, err := publish(p.e.ctx, p.log, p.batch(messages...))
	p.e.must(err, "Publish")
	return positions
}

// publish publishes a batch and checks the number of positions.
func publish(ctx context.Context, l backplane.Log, b backplane.Batch) ([]backplane.Position, error) {
	positions, err := l.Publish(ctx, b)
	if err == nil && len(positions) != len(b.Messages) {
		err = fmt.Errorf("%d positions for %d messages", len(positions), len(b.Messages))
	}
	return positions, err
}

func messages(data ...string) []backplane.Message {
	out := make([]backplane.Message, len(data))
	for i, d := range data {
		out[i].Data = []byte(d)
	}
	return out
}

// numbered returns prefix0 to prefix(n-1).
func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(prefix, i)
	}
	return out
}
