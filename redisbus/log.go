package redisbus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
)

// spare is how long keys outlive what they are kept for, at least: the nodes of
// a living cluster have that long to renew them.
const spare = 30 * time.Second

// maxTTL keeps times within what scripts and PEXPIRE can say.
const maxTTL = 200 * 365 * 24 * time.Hour

// log is one namespace. It implements [backplane.Log].
type log struct {
	bus    *Bus
	cfg    backplane.Config
	keys   keys
	ttl    time.Duration // of the keys, from each renewal on
	limits string

	commands redis.UniversalClient
	release  func()

	// closing ends when Close is called.
	closing context.Context
	close   context.CancelFunc
	// mu guards closed, batches, and work against being waited for while it grows.
	mu      sync.Mutex
	closed  bool
	batches map[string]acceptedBatch // by producer
	work    sync.WaitGroup           // calls, and the goroutines that they start

	jobs chan func()  // to workers that wait
	idle atomic.Int32 // how many do

	quick    atomic.Bool                        // the server has answered a publish quickly
	acked    atomic.Pointer[backplane.Position] // the highest position that a publish got
	followed atomic.Pointer[followed]           // nil: nothing is followed
	doubt    chan struct{}                      // one: a follower should look at once whether its epoch is over
	left     atomic.Int64                       // when commands last left their server, Unix ms
	newest   atomic.Pointer[acceptedBatch]      // the last one that this node published
	lost     atomic.Pointer[string]             // the epoch of which something that was accepted is gone
	clock    atomic.Int64                       // how far the server's clock is ahead of ours, ns
	warned   atomic.Int64                       // when foreign entries were last reported, Unix s
	collects collects
}

var _ backplane.Log = (*log)(nil)

func newLog(b *Bus, cfg backplane.Config) *log {
	l := &log{bus: b, cfg: cfg, keys: newKeys(b.opts.prefix, cfg.Namespace), jobs: make(chan func()), batches: make(map[string]acceptedBatch), doubt: make(chan struct{}, 1)}
	// A renewal is due when an eighth of it has passed; what is then left must do.
	l.ttl = max(cfg.RetentionAge, cfg.IdempotencyWindow, cfg.ResumeGrace) + spare
	l.ttl = min(l.ttl+l.ttl/4, maxTTL)
	l.limits = limits(cfg, l.ttl)
	l.commands, l.release = commandClient(b.client)
	l.closing, l.close = context.WithCancel(context.Background())
	l.collects.calls = make(map[string]uint64)
	return l
}

// enter begins a call, which ends with work.Done.
func (l *log) enter(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return backplane.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.work.Add(1)
	return nil
}

// Close implements [backplane.Log].
func (l *log) Close(ctx context.Context) error {
	l.mu.Lock()
	again := l.closed
	l.closed = true
	l.mu.Unlock()
	if again {
		return nil
	}
	l.close()
	l.release()
	done := make(chan struct{})
	go func() { // ends with the last call, which ends by its own timeout
		l.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ended returns why a call has to end: the log was closed, or its context has ended.
func (l *log) ended(ctx context.Context) error {
	if l.closing.Err() != nil {
		return backplane.ErrClosed
	}
	return ctx.Err()
}

// do calls fn until it succeeds, fails for good, the log is closed, the context ends or it has been
// tried for long enough. fn may run on after do has returned, so it must not
// touch anything of the caller's. The error says what was being done.
func do[T any](ctx context.Context, l *log, what string, timeout time.Duration, fn func(context.Context) (T, error)) (T, error) {
	var zero T
	start := time.Now()
	pause := 5 * time.Millisecond
	for {
		reply, err := attempt(ctx, l, timeout, fn)
		if err == nil {
			return reply, nil
		}
		if l.ended(ctx) != nil {
			return zero, l.failed(ctx, what, err)
		}
		if isAny(err, errOtherEpoch, errLacks, ErrReplicas) || isPrefix(err, "NOREPLICAS") { // perhaps there is a new primary
			l.leaveServer(ctx)
		} else {
			l.reload(ctx)
		}
		if !temporary(err) || time.Since(start) > callBudget {
			return zero, fmt.Errorf("redisbus: %s: %w", what, explain(l, err))
		}
		wait := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-wait.C:
		case <-ctx.Done():
		case <-l.closing.Done():
		}
		wait.Stop()
		if l.ended(ctx) != nil {
			return zero, l.failed(ctx, what, err)
		}
		pause = min(2*pause, 200*time.Millisecond)
	}
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// reload makes a cluster client look where the slots are: by itself it does that when it
// is redirected, but not when a server is gone.
func (l *log) reload(ctx context.Context) {
	if cluster, ok := l.commands.(*redis.ClusterClient); ok {
		cluster.ReloadState(ctx)
	}
}

// leaveEvery is how long commands stay where they are, at least.
const leaveEvery = 500 * time.Millisecond

// leaveServer closes the idle connections of commands, so that the next ones go where the
// client's address, or Sentinel, leads now. Otherwise they stay for as long as their server lives,
// also when it has been replaced: a connection that was being made when Sentinel announced the new
// primary ends at the old one, should that be back already, and go-redis never asks again.
func (l *log) leaveServer(ctx context.Context) {
	client, ok := l.commands.(*redis.Client)
	if !ok {
		l.reload(ctx)
		return
	}
	now, was := time.Now().UnixMilli(), l.left.Load()
	if now-was < leaveEvery.Milliseconds() || !l.left.CompareAndSwap(was, now) {
		return
	}
	_, _ = attempt(ctx, l, stateTimeout, func(ctx context.Context) (struct{}, error) {
		for range client.PoolStats().IdleConns {
			conn := client.Conn()
			_ = conn.Process(ctx, redis.NewStatusCmd(ctx, "quit"))
			err := conn.Ping(ctx).Err() // fails, and so the pool learns that it is closed
			_ = conn.Close()
			if ctx.Err() != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
}

func (l *log) failed(ctx context.Context, what string, last error) error {
	err := l.ended(ctx)
	switch {
	case errors.Is(err, backplane.ErrClosed):
		return err
	case errors.Is(last, err):
		return fmt.Errorf("redisbus: %s: %w", what, err)
	}
	return fmt.Errorf("redisbus: %s: %w; last %v", what, err, last)
}

// attempt calls fn in a worker that Close waits for, because go-redis notices
// deadlines and no other end of a context.
func attempt[T any](ctx context.Context, l *log, timeout time.Duration, fn func(context.Context) (T, error)) (T, error) {
	type result struct {
		reply T
		err   error
	}
	done := make(chan result, 1)
	l.start(func() {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		reply, err := fn(ctx)
		done <- result{reply, err}
	})
	select {
	case r := <-done:
		return r.reply, r.err
	case <-ctx.Done():
	case <-l.closing.Done():
	}
	var zero T
	return zero, l.ended(ctx)
}

// maxIdle is how many workers wait for their next job.
const maxIdle = 4

// start has a worker do a job. One that waits is much faster than a new goroutine, whose
// stack has to grow first. The caller is itself counted as work, so this never starts
// from nothing.
func (l *log) start(job func()) {
	select {
	case l.jobs <- job:
	default:
		l.work.Go(func() { l.worker(job) })
	}
}

// worker does a job, and others until the log is closed or enough workers wait.
func (l *log) worker(job func()) {
	for {
		job()
		if l.idle.Add(1) > maxIdle {
			l.idle.Add(-1)
			return
		}
		select {
		case job = <-l.jobs:
			l.idle.Add(-1)
		case <-l.closing.Done():
			return
		}
	}
}

// call runs a script through the client for commands, with retries.
func (l *log) call(ctx context.Context, what string, s *script, keys []string, args ...any) ([]any, error) {
	return do(ctx, l, what, callTimeout, func(ctx context.Context) ([]any, error) {
		return s.run(ctx, l.commands, keys, args...)
	})
}

// explain adds what a user may need to know to an error of the server.
func explain(l *log, err error) error {
	if _, single := l.commands.(*redis.Client); single && isPrefix(err, "MOVED ", "CROSSSLOT") {
		return fmt.Errorf("%w (this server is part of a Cluster: give the bus a *redis.ClusterClient)", err)
	}
	return err
}
