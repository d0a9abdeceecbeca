package natsbus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sseplane/sseplane/backplane"
)

// ErrForeignStream: a stream or bucket that a namespace needs is there, but was
// not made by this library, or with other options that can not be changed.
var ErrForeignStream = errors.New("natsbus: stream exists with a foreign configuration")

// Bus is a NATS server or cluster as a bus for brokers. Create one with [New].
type Bus struct {
	nc      *nats.Conn
	options options
}

var _ backplane.Backplane = (*Bus)(nil)

type options struct {
	prefix   string
	replicas int
	storage  jetstream.StorageType
	snapshot int // bytes of changes of the register that are worth a snapshot
}

// Option is an option of [New].
type Option func(*options) error

// WithReplicas sets how many servers of a cluster hold each stream: 1 to 5, and
// odd. The default is 1. A stream survives the loss of a server with 3.
func WithReplicas(n int) Option {
	return func(o *options) error {
		if n < 1 || n > 5 || n%2 == 0 {
			return fmt.Errorf("natsbus: WithReplicas(%d): not 1, 3 or 5", n)
		}
		o.replicas = n
		return nil
	}
}

// WithMemoryStorage keeps the log and the register in the memory of the servers. They
// are then lost when all servers that hold them are down at once, or one
// without [WithReplicas]. The default is files. The storage of a stream that
// exists can not be changed.
func WithMemoryStorage() Option {
	return func(o *options) error {
		o.storage = jetstream.MemoryStorage
		return nil
	}
}

// WithPrefix sets what the names of all streams, buckets and subjects begin with:
// 1 to 32 of [0-9A-Za-z_]. The default is "sse".
func WithPrefix(prefix string) Option {
	return func(o *options) error {
		if err := checkPrefix(prefix); err != nil {
			return err
		}
		o.prefix = prefix
		return nil
	}
}

// New returns the bus that nc is connected to. The connection stays the
// caller's. It is where the bus takes servers, credentials and TLS from: each log
// that is opened makes two connections of its own with these options, with timing
// and buffers fit for it (see the package comment), and closes them with the log.
func New(nc *nats.Conn, opts ...Option) (*Bus, error) {
	if nc == nil {
		return nil, errors.New("natsbus: no connection")
	}
	b := &Bus{nc: nc, options: options{prefix: "sse", replicas: 1, storage: jetstream.FileStorage, snapshot: snapshotEvery}}
	for _, opt := range opts {
		if err := opt(&b.options); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Open implements [backplane.Backplane]. It does not wait for a server: what it
// opens connects by itself, and calls on it wait for that.
func (b *Bus) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return openLog(b, cfg), nil
}
