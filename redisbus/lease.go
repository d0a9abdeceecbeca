package redisbus

import (
	"context"
	"fmt"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// Renew implements [backplane.Register].
func (l *log) Renew(ctx context.Context, node string, ttl time.Duration) error {
	if err := validNode(node); err != nil {
		return err
	}
	if ttl <= 0 {
		return fmt.Errorf("redisbus: lease of %v is not positive", ttl)
	}
	if err := l.enter(ctx); err != nil {
		return err
	}
	defer l.work.Done()
	reply, err := l.call(ctx, "renew", renewScript, l.keys.ofRenew(), node, micros(ttl), l.ttl.Milliseconds())
	return swept("renew", node, reply, err)
}

// renewKeys renews the life of the keys alone.
func (l *log) renewKeys(ctx context.Context) error {
	_, err := attempt(ctx, l, callTimeout, func(ctx context.Context) ([]any, error) {
		return renewScript.run(ctx, l.commands, l.keys.ofRenew(), "", 0, l.ttl.Milliseconds())
	})
	return err
}

// Release implements [backplane.Register].
func (l *log) Release(ctx context.Context, node string) error {
	if err := validNode(node); err != nil {
		return err
	}
	if err := l.enter(ctx); err != nil {
		return err
	}
	defer l.work.Done()
	k := &l.keys
	l.collects.forget(node)
	_, err := l.call(ctx, "release", releaseScript, []string{k.leases, k.nodes, k.owed, k.collected}, node)
	return err
}

func validNode(node string) error {
	if err := backplane.ValidName(node); err != nil {
		return fmt.Errorf("redisbus: node: %w", err)
	}
	return nil
}

// swept turns the reply of a script that begins with 0 into ErrSwept.
func swept(what, node string, reply []any, err error) error {
	if err != nil {
		return err
	}
	if len(reply) == 0 {
		return fmt.Errorf("redisbus: %s: empty reply", what)
	}
	if ok, _ := reply[0].(int64); ok == 0 {
		return fmt.Errorf("redisbus: %s: node %q: %w", what, node, backplane.ErrSwept)
	}
	return nil
}
