package backplanetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// env is what one check works with: a fresh namespace, and a context that ends
// when the patience does. Its methods fail the test, and so may be called from
// the test's goroutine only, unless they return an error.
type env struct {
	*testing.T
	h   Harness
	ctx context.Context
	// cfg is what node opens the namespace with; a check may change it before.
	cfg backplane.Config
}

func newEnv(t *testing.T, h Harness, name string) *env {
	ctx, cancel := context.WithTimeout(context.Background(), h.Patience)
	t.Cleanup(cancel)
	return &env{T: t, h: h, ctx: ctx, cfg: backplane.Config{
		Namespace:         name + " " + rand.Text(),
		RetentionAge:      10 * time.Minute,
		RetentionBytes:    64 << 20,
		IdempotencyWindow: 2 * time.Minute,
		ResumeGrace:       time.Minute,
	}}
}

// node opens the namespace on a connection of its own.
func (e *env) node() backplane.Log {
	e.Helper()
	return e.open(e.h.New(e.T), e.cfg)
}

func (e *env) open(bus backplane.Backplane, cfg backplane.Config) backplane.Log {
	e.Helper()
	l, err := bus.Open(e.ctx, cfg)
	e.must(err, "Open")
	e.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), e.h.Patience)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			e.Errorf("Close: %v", err)
		}
	})
	return l
}

// nodes opens the namespace on several connections.
func (e *env) nodes(n int) []backplane.Log {
	e.Helper()
	logs := make([]backplane.Log, n)
	for i := range logs {
		logs[i] = e.node()
	}
	return logs
}

func (e *env) must(err error, format string, args ...any) {
	e.Helper()
	if err != nil {
		e.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

func (e *env) mustBe(err, want error, format string, args ...any) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Fatalf("%s: got error %v, want %v", fmt.Sprintf(format, args...), err, want)
	}
}

// eventually asks until the answer is yes. ask returns what it saw, for the
// failure's message.
func (e *env) eventually(what string, ask func() (ok bool, saw any)) {
	e.Helper()
	for {
		ok, saw := ask()
		if ok {
			return
		}
		if err := e.pause(10 * time.Millisecond); err != nil {
			e.Fatalf("not within %v: %s; last saw %v", e.h.Patience, what, saw)
		}
	}
}

// pause lets time pass.
func (e *env) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-e.ctx.Done():
		return e.ctx.Err()
	}
}

// ticks lets so many ticks pass, where the contract is about time passing.
func (e *env) ticks(n int) {
	e.Helper()
	e.must(e.pause(time.Duration(n)*e.h.Tick), "waiting for %d ticks", n)
}

// together runs f with 0 to n-1 at the same time, waits for all, and fails with
// the errors.
func (e *env) together(n int, f func(i int) error) {
	e.Helper()
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		e.Fatal(err)
	}
}

// heavy scales the amount of work.
func (e *env) heavy(n int) int {
	if e.h.Short {
		return max(1, n/10)
	}
	return n
}

// bounds returns the bounds of the log.
func (e *env) bounds(l backplane.Log) backplane.Bounds {
	e.Helper()
	b, err := l.Bounds(e.ctx)
	e.must(err, "Bounds")
	return b
}
