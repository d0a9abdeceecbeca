package redisbus

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// DefaultPrefix opens the name of every key.
const DefaultPrefix = "sseplane"

type options struct {
	prefix      string
	replicas    int
	replicaWait time.Duration
	logger      *slog.Logger
}

func defaults() options {
	return options{prefix: DefaultPrefix, logger: slog.New(slog.DiscardHandler)}
}

// Option changes a default of [New].
type Option interface {
	apply(*options) error
}

type optionFunc func(*options) error

func (f optionFunc) apply(o *options) error { return f(o) }

// WithPrefix sets what the name of every key begins with, in place of
// [DefaultPrefix]. It must not be empty or contain a brace: braces mark the
// namespace, by which a Cluster keeps the keys together.
func WithPrefix(prefix string) Option {
	return optionFunc(func(o *options) error {
		if prefix == "" || strings.ContainsAny(prefix, "{}") {
			return fmt.Errorf("redisbus: WithPrefix: %q is empty or has a brace", prefix)
		}
		o.prefix = prefix
		return nil
	})
}

// WithReplicas makes each publish wait (WAIT, once for a batch) until n
// replicas have what was published; the default is 0, not to wait. Where that takes
// longer than timeout the publish is [ErrReplicas]: what it published is in the
// log and goes to all nodes, but may be lost with the primary. WAIT narrows that
// loss and does not exclude it; see min-replicas-to-write, too.
func WithReplicas(n int, timeout time.Duration) Option {
	return optionFunc(func(o *options) error {
		if n < 0 || timeout < time.Millisecond {
			return fmt.Errorf("redisbus: WithReplicas: %d replicas within %v", n, timeout)
		}
		o.replicas, o.replicaWait = n, timeout
		return nil
	})
}

// WithLogger sets where the bus reports what deserves attention and is no error of
// a call: an eviction policy that can destroy a log, foreign entries. The
// default is silence.
func WithLogger(logger *slog.Logger) Option {
	return optionFunc(func(o *options) error {
		if logger == nil {
			return errors.New("redisbus: WithLogger: nil")
		}
		o.logger = logger
		return nil
	})
}
