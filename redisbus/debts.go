package redisbus

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// rememberSwept is how long a node that was swept is known. One that has been paused
// for longer finds its connections dead.
const rememberSwept = 48 * time.Hour

// collects numbers the calls of Collect, so that one whose reply was lost is repeated and
// not followed by another one: what it took would be owed and never settled.
type collects struct {
	mu    sync.Mutex
	calls map[string]uint64 // by node: the number of the call that has not succeeded yet
}

func (c *collects) number(node string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[node] == 0 {
		// Above those of any log that was opened for this node before.
		c.calls[node] = uint64(time.Now().UnixMicro())
	}
	return c.calls[node]
}

func (c *collects) succeeded(node string, number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[node] == number {
		c.calls[node]++
	}
}

func (c *collects) forget(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, node)
}

// Collect implements [backplane.Register].
func (l *log) Collect(ctx context.Context, node string, limit int) ([]backplane.Debt, error) {
	if err := validNode(node); err != nil {
		return nil, err
	}
	if limit <= 0 {
		return nil, nil
	}
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	defer l.work.Done()

	number := l.collects.number(node)
	reply, err := l.call(ctx, "collect", collectScript, append(l.keys.ofRegister(), l.keys.collected),
		node, strconv.FormatUint(number, 10), min(limit, 2*sessionsPerCall), micros(l.cfg.ResumeGrace),
		micros(l.rememberEnded()), l.ttl.Milliseconds(), micros(rememberSwept))
	if err := swept("collect", node, reply, err); err != nil {
		return nil, err
	}
	if len(reply) != 2 {
		return nil, fmt.Errorf("redisbus: collect: unexpected reply %.80v", reply)
	}
	list, _ := reply[1].([]any)
	debts := make([]backplane.Debt, 0, len(list)/2)
	for pair := range slices.Chunk(list, 2) {
		field, _ := pair[0].(string)
		record, _ := pair[1].(string)
		d, err := parseDebt(field, record)
		if err != nil {
			return nil, err
		}
		debts = append(debts, d)
	}
	l.collects.succeeded(node, number)
	return debts, nil
}

// Settle implements [backplane.Register].
func (l *log) Settle(ctx context.Context, node string, debts []backplane.Debt) error {
	if err := validNode(node); err != nil {
		return err
	}
	if err := l.enter(ctx); err != nil {
		return err
	}
	defer l.work.Done()
	for part := range slices.Chunk(debts, 2*sessionsPerCall) {
		args := []any{node}
		for _, d := range part {
			args = append(args, debtField(d))
		}
		if _, err := l.call(ctx, "settle", settleScript, []string{l.keys.owed, l.keys.debts}, args...); err != nil {
			return err
		}
	}
	return nil
}
