package redisbus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
)

// Bus is the backplane on one Redis deployment. It is safe for concurrent use.
type Bus struct {
	client redis.UniversalClient
	opts   options
	// foreign counts entries in logs that no node has written.
	foreign atomic.Uint64
}

var _ backplane.Backplane = (*Bus)(nil)

// New returns the backplane on the deployment that client talks to: a
// [*redis.Client] (of a single server, or from [redis.NewFailoverClient]) or a
// [*redis.ClusterClient]. A cluster client that sends reads to replicas
// (ReadOnly, RouteByLatency, RouteRandomly) is refused, as are other types.
//
// The client stays the caller's, who closes it when all brokers are closed.
// New does not use it yet.
func New(client redis.UniversalClient, opts ...Option) (*Bus, error) {
	b := &Bus{client: client, opts: defaults()}
	for _, o := range opts {
		if err := o.apply(&b.opts); err != nil {
			return nil, err
		}
	}
	switch c := client.(type) {
	case nil:
		return nil, errors.New("redisbus: no client")
	case *redis.Client:
		if c == nil {
			return nil, errors.New("redisbus: no client")
		}
	case *redis.ClusterClient:
		if c == nil {
			return nil, errors.New("redisbus: no client")
		}
		if o := c.Options(); o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return nil, errors.New("redisbus: the client sends reads to replicas (ReadOnly, RouteByLatency or RouteRandomly): give the bus one that does not")
		}
	default:
		return nil, fmt.Errorf("redisbus: a %T is not a *redis.Client or a *redis.ClusterClient", client)
	}
	return b, nil
}

// Open implements [backplane.Backplane]. It asks the server for its version,
// role and limits.
func (b *Bus) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := newLog(b, cfg)
	if err := l.checkServer(ctx); err != nil {
		_ = l.Close(ctx) // it has nothing to wait for
		return nil, err
	}
	return l, nil
}

// ForeignEntries returns how many entries that no node has written were met in
// logs, and skipped. One is counted each time that it is read.
func (b *Bus) ForeignEntries() uint64 { return b.foreign.Load() }
