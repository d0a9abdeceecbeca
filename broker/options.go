package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// Option configures a [Broker]. A bad value is an [ErrInvalidOption] from
// [Broker.Start], or from the first call that uses the broker. A nil Option is ignored.
type Option interface{ apply(*config) }

type option func(*config)

func (f option) apply(c *config) { f(c) }

// config is what the options say.
type config struct {
	headers     map[string]string
	backplane   backplane.Backplane
	namespace   string
	nodeName    string
	retention   time.Duration
	logBytes    int64
	windowBytes int
	grace       time.Duration
	lease       time.Duration
	deadline    time.Duration
	heartbeat   time.Duration
	idempotency time.Duration
	retry       time.Duration
	retryJitter time.Duration
	limits      limits
	maxEvent    int
	resetEvent  string
	logger      *slog.Logger
	hooks       Hooks
	queueFrames int
	queueBytes  int
	scanPage    int
	rosterBatch int
	errs        []error
}

func defaultConfig() *config {
	return &config{
		namespace:   "default",
		retention:   10 * time.Minute,
		logBytes:    64 << 20,
		windowBytes: 32 << 20,
		grace:       time.Minute,
		lease:       10 * time.Second,
		deadline:    30 * time.Second,
		heartbeat:   15 * time.Second,
		idempotency: 2 * time.Minute,
		retry:       time.Second,
		retryJitter: time.Second,
		maxEvent:    1 << 20,
		resetEvent:  "reset",
		logger:      slog.New(slog.DiscardHandler),
		queueFrames: defaultQueueFrames,
		queueBytes:  defaultQueueBytes,
		scanPage:    defaultScanPage,
		rosterBatch: defaultRosterBatch,
	}
}

// WithBackplane sets the bus on which the nodes meet: that of redisbus.New, of
// natsbus.New, or a shared backplane.NewMemory. Default: a memory of the broker's own,
// so that it is the only node.
func WithBackplane(bp backplane.Backplane) Option {
	return option(func(c *config) {
		v := reflect.ValueOf(bp)
		c.require(bp != nil && (v.Kind() != reflect.Pointer || !v.IsNil()), "WithBackplane", "nil")
		c.backplane = bp
	})
}

// WithNamespace keeps this application's events apart from others on the bus: 1
// to 1024 bytes of UTF-8. Default "default".
func WithNamespace(name string) Option {
	return option(func(c *config) {
		err := backplane.ValidName(name)
		c.require(err == nil, "WithNamespace", fmt.Sprintf("%.80q: %v", name, err))
		c.namespace = name
	})
}

// WithNodeName gives the node a name for people, in [Session.NodeName]. It need
// not be unique. Default: a random one.
func WithNodeName(name string) Option {
	return option(func(c *config) {
		err := backplane.ValidName(name)
		c.require(err == nil, "WithNodeName", fmt.Sprintf("%.80q: %v", name, err))
		c.nodeName = name
	})
}

// WithRetention sets how much of the log the bus keeps, by age and by bytes:
// the oldest events go when either is exceeded. A client that stays away for longer
// gets a reset. Default 10 minutes, 64 MiB.
func WithRetention(age time.Duration, bytes int64) Option {
	return option(func(c *config) {
		c.require(within(age, 100*time.Millisecond), "WithRetention", fmt.Sprintf("age %v, from 100ms to 100 years", age))
		c.require(bytes >= 1<<10, "WithRetention", fmt.Sprintf("%d bytes, at least 1024", bytes))
		c.retention, c.logBytes = age, bytes
	})
}

// WithWindow sets how much of the newest part of the log this node keeps in memory, in
// bytes; who resumes from there costs the bus nothing. Default 32 MiB.
func WithWindow(bytes int) Option {
	return option(func(c *config) {
		c.require(bytes >= 1<<10, "WithWindow", fmt.Sprintf("%d bytes, at least 1024", bytes))
		c.windowBytes = bytes
	})
}

// WithResumeGrace sets how long a client whose last session has ended still
// counts as known: events can be sent to it, and its metadata and the topics it was
// joined to are kept. Default 1 minute.
func WithResumeGrace(d time.Duration) Option {
	return option(func(c *config) {
		c.require(within(d, 0), "WithResumeGrace", fmt.Sprintf("%v, from 0 to 100 years", d))
		c.grace = d
	})
}

// WithLease sets after what time without a sign of life a node is taken for dead
// and its sessions are reported as disconnected by another. Default 10 seconds.
func WithLease(d time.Duration) Option {
	return option(func(c *config) {
		c.require(within(d, 100*time.Millisecond), "WithLease", fmt.Sprintf("%v, from 100ms to 100 years", d))
		c.lease = d
	})
}

// WithWriteDeadline sets how long a client may take nothing of what is being written
// to it before its connection is closed; it resumes. Default 30 seconds.
func WithWriteDeadline(d time.Duration) Option {
	return option(func(c *config) {
		c.require(within(d, 1), "WithWriteDeadline", fmt.Sprintf("%v, more than 0, to 100 years", d))
		c.deadline = d
	})
}

// WithHeartbeat sets after what time without anything written to a connection something
// is: the node's position, or a comment. Default 15 seconds.
func WithHeartbeat(d time.Duration) Option {
	return option(func(c *config) {
		c.require(within(d, 10*time.Millisecond), "WithHeartbeat", fmt.Sprintf("%v, from 10ms to 100 years", d))
		c.heartbeat = d
	})
}

// WithIdempotencyWindow sets how long the bus remembers an [IdempotencyKey].
// Default 2 minutes.
func WithIdempotencyWindow(d time.Duration) Option {
	return option(func(c *config) {
		c.require(within(d, 100*time.Millisecond), "WithIdempotencyWindow", fmt.Sprintf("%v, from 100ms to 100 years", d))
		c.idempotency = d
	})
}

// WithRetry sets how long clients are told to wait before they reconnect: at
// least min, plus a random part of jitter, so that they do not all come at once. They are
// told when they come without a Last-Event-ID, and when the node drains.
// Default 1 second plus up to 1 second. Resolution: a millisecond.
func WithRetry(min, jitter time.Duration) Option {
	return option(func(c *config) {
		c.require(within(min, time.Millisecond) && within(jitter, 0), "WithRetry", fmt.Sprintf("%v and %v, at least 1ms and 0, to 100 years", min, jitter))
		c.retry, c.retryJitter = min, jitter
	})
}

// WithMaxConnections bounds the connections of this node. One over the limit is
// answered with 200, retry: and a close. Default 0: no limit.
func WithMaxConnections(n int) Option {
	return option(func(c *config) {
		c.require(n >= 0, "WithMaxConnections", fmt.Sprintf("%d, at least 0", n))
		c.limits.connections = n
	})
}

// WithMaxConnectionsPerClient bounds the connections that one client has to this
// node, like [WithMaxConnections]. Default 0: no limit.
func WithMaxConnectionsPerClient(n int) Option {
	return option(func(c *config) {
		c.require(n >= 0, "WithMaxConnectionsPerClient", fmt.Sprintf("%d, at least 0", n))
		c.limits.perClient = n
	})
}

// WithMaxEventSize bounds an encoded event, in bytes. Default 1 MiB. The bus may
// accept less.
func WithMaxEventSize(bytes int) Option {
	return option(func(c *config) {
		c.require(bytes > 0, "WithMaxEventSize", fmt.Sprintf("%d bytes, more than 0", bytes))
		c.maxEvent = bytes
	})
}

// WithResetEvent names the event that tells a client that it may have missed
// something. Publishing under that name is an error. The empty name, "message", which is
// that of events without a name, and names with line breaks or a NUL are an [ErrInvalidOption].
// Default "reset".
func WithResetEvent(name string) Option {
	return option(func(c *config) {
		c.require(validEventName(name) && name != "message", "WithResetEvent", fmt.Sprintf("%.80q can not be its name", name))
		c.resetEvent = name
	})
}

// WithLogger sets where the broker logs to. Default: nowhere.
func WithLogger(l *slog.Logger) Option {
	return option(func(c *config) {
		c.require(l != nil, "WithLogger", "nil")
		if l != nil {
			c.logger = l
		}
	})
}

// WithHooks sets functions that are called when clients come and go.
func WithHooks(h Hooks) Option {
	return option(func(c *config) { c.hooks = h })
}

// maxDuration bounds all durations, so that sums of them with the time of day do not
// overflow.
const maxDuration = 100 * 365 * 24 * time.Hour

// within reports whether d is at least low, and not absurdly long.
func within(d, low time.Duration) bool { return d >= low && d <= maxDuration }

func (c *config) require(ok bool, option, value string) {
	if !ok {
		c.errs = append(c.errs, fmt.Errorf("%w: %s: %s", ErrInvalidOption, option, value))
	}
}

func (c *config) err() error { return errors.Join(c.errs...) }

// touchInterval is how often facts about clients are put into the register
// anew, and factTTL how long one put lasts: so they live for at least the resume grace after
// the last session has ended, also when its node died without a word.
func (c *config) touchInterval() time.Duration { return max(c.grace/4, c.lease/3) }

func (c *config) factTTL() time.Duration { return c.grace + 2*c.touchInterval() + 2*c.lease }

func (c *config) backplaneConfig() backplane.Config {
	return backplane.Config{
		Namespace: c.namespace, RetentionAge: c.retention, RetentionBytes: c.logBytes,
		IdempotencyWindow: c.idempotency, ResumeGrace: c.grace,
	}
}

func validEventName(name string) bool {
	for i := range len(name) {
		if name[i] == '\n' || name[i] == '\r' || name[i] == 0 {
			return false
		}
	}
	return name != ""
}

// reauthorization asks the application now and then whether a connection may stay.
type reauthorization struct {
	every  time.Duration
	check  func(ctx context.Context) error
	next   time.Time
	launch func(func(ctx context.Context))
	busy   bool
}

// start runs the check on a goroutine of the broker's. The node's lock is held.
func (r *reauthorization) start(now time.Time, s *session) {
	r.next = now.Add(r.every)
	if r.busy {
		return
	}
	r.busy = true
	r.launch(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, r.every)
		defer cancel()
		err := guarded(s.node.logger, "re-authorisation", func() error { return r.check(ctx) })
		s.node.mu.Lock()
		r.busy = false
		s.node.mu.Unlock()
		if err != nil {
			s.end(fmt.Errorf("%w: %w", ErrExpired, err))
		}
	})
}

// errPanicked is what a panic of the application's functions becomes.
var errPanicked = errors.New("broker: the application's function panicked")

// guarded calls a function that may be the application's, and makes a logged error of
// its panic.
func guarded(logger *slog.Logger, name string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			logger.Error("sseplane: "+name+" panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %v", errPanicked, p)
		}
	}()
	return f()
}
