package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/natsbus/internal/natstest"
)

// past is a log with a history that is about to be lost: positions that were
// handed out, and a follower that has them.
type past struct {
	t         *testing.T
	log       backplane.Log
	producer  string
	number    uint64
	bounds    backplane.Bounds
	positions []backplane.Position
	follower  *node
}

func newPast(t *testing.T, l backplane.Log, n int) *past {
	t.Helper()
	b, err := l.Bounds(within(t))
	if err != nil {
		t.Fatal(err)
	}
	p := &past{t: t, log: l, producer: t.Name(), bounds: b}
	p.publish(n)
	p.follower = p.follow(b.Last)
	p.follower.wait(t, "it has the history", func() bool { return len(p.follower.entries) == n })
	return p
}

// publish publishes so many entries, one by one, each until it is accepted.
func (p *past) publish(n int) {
	p.t.Helper()
	ctx := within(p.t)
	for range n {
		p.number++
		b := backplane.Batch{Producer: p.producer, Number: p.number, Messages: []backplane.Message{{Data: fmt.Append(nil, p.number)}}}
		positions, err := p.log.Publish(ctx, b)
		if err != nil {
			p.t.Fatalf("Publish: %v", err)
		}
		p.positions = append(p.positions, positions...)
	}
}

func (p *past) follow(after backplane.Position) *node {
	n := &node{name: "follower", changed: make(chan struct{}), upto: after}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := p.log.Follow(ctx, after, n)
		n.do(func() { n.ended = err })
	}()
	p.t.Cleanup(func() { cancel(); <-done })
	return n
}

// isGone checks that all nodes are told that the history is gone, and that
// after a new epoch everything works again.
func (p *past) isGone() {
	p.t.Helper()
	ctx := within(p.t)
	p.follower.wait(p.t, "it is told that the history is gone", func() bool { return p.follower.ended != nil })
	if !errors.Is(p.follower.ended, backplane.ErrEpoch) {
		p.t.Fatalf("Follow: %v", p.follower.ended)
	}
	after, err := p.log.NewEpoch(ctx, p.bounds.Epoch)
	if err != nil {
		p.t.Fatal(err)
	}
	if after.Epoch == p.bounds.Epoch {
		p.t.Fatalf("still %+v", after)
	}
	for _, position := range p.positions {
		if _, err := p.log.Read(ctx, position, 1); !errors.Is(err, backplane.ErrEpoch) {
			p.t.Fatalf("Read after %v: %v", position, err)
		}
	}
	p.positions = nil
	f := p.follow(after.Last)
	p.publish(3)
	f.wait(p.t, "it follows the new history", func() bool { return len(f.entries) == 3 })
	for i, e := range f.entries {
		if e.Position != p.positions[i] {
			p.t.Errorf("entry %d is at %v, was accepted at %v", i, e.Position, p.positions[i])
		}
	}
}

func TestStoreWiped(t *testing.T) {
	s := natstest.Start(t)
	p := newPast(t, openLog(t, s.URL(), config()), 20)
	s.Kill()
	if err := os.RemoveAll(s.Dir); err != nil {
		t.Fatal(err)
	}
	s.Run()
	s.Await()
	p.isGone()
}

func TestStoreRestored(t *testing.T) {
	for _, more := range []int{0, 50} { // shorter than the history that was lost, or longer
		t.Run(fmt.Sprint(more), func(t *testing.T) {
			s := natstest.Start(t)
			cfg := config()
			p := newPast(t, openLog(t, s.URL(), cfg), 10)
			s.Stop()
			saved := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(saved, os.DirFS(s.Dir)); err != nil {
				t.Fatal(err)
			}
			s.Run()
			s.Await()
			p.publish(10)
			p.follower.wait(t, "it has more", func() bool { return len(p.follower.entries) == 20 })
			last := p.positions[19]

			s.Kill()
			if err := os.RemoveAll(s.Dir); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(s.Dir, os.DirFS(saved)); err != nil {
				t.Fatal(err)
			}
			s.Run()
			s.Await()
			// Another node writes to the restored log, before anybody notices.
			other := openLog(t, s.URL(), cfg)
			for i := range more {
				b := backplane.Batch{Producer: "other", Number: uint64(i + 1), Messages: []backplane.Message{{Data: []byte("x")}}}
				if _, err := other.Publish(within(t), b); err != nil {
					t.Fatal(err)
				}
			}
			if more > 0 {
				if page, err := other.Read(within(t), last, 1); !errors.Is(err, backplane.ErrEpoch) {
					t.Errorf("Read after %v, which is another entry now: %+v, %v", last, page, err)
				}
			}
			p.isGone()
		})
	}
}

func TestStreamDeleted(t *testing.T) {
	s := natstest.Start(t)
	cfg := config()
	p := newPast(t, openLog(t, s.URL(), cfg), 20)
	name, _ := natsbus.Streams(cfg.Namespace)
	if _, err := natstest.Connect(t, s.URL()).Request("$JS.API.STREAM.DELETE."+name, nil, 2*time.Second); err != nil {
		t.Fatal(err)
	}
	p.isGone()
}

func TestMemoryClusterRestarted(t *testing.T) {
	c := natstest.StartCluster(t)
	l := openLog(t, c.URL(), config(), natsbus.WithReplicas(3), natsbus.WithMemoryStorage())
	p := newPast(t, l, 20)
	for _, s := range c.Servers {
		s.Kill()
	}
	for _, s := range c.Servers {
		s.Run()
	}
	for _, s := range c.Servers {
		s.Await()
	}
	p.isGone()
}

// TestPurged: what an operator purges is trimmed, not another history.
func TestPurged(t *testing.T) {
	s := natstest.Start(t)
	cfg := config()
	p := newPast(t, openLog(t, s.URL(), cfg), 20)
	name, _ := natsbus.Streams(cfg.Namespace)
	if _, err := natstest.Connect(t, s.URL()).Request("$JS.API.STREAM.PURGE."+name, nil, 2*time.Second); err != nil {
		t.Fatal(err)
	}
	s.Restart() // the follower's consumer is lost
	if _, err := p.log.Read(within(t), p.positions[3], 1); !errors.Is(err, backplane.ErrTrimmed) {
		t.Errorf("Read of what is purged: %v", err)
	}
	p.publish(5)
	p.follower.wait(t, "it goes on", func() bool { return len(p.follower.entries) == 25 || p.follower.ended != nil })
	if p.follower.ended != nil {
		t.Errorf("Follow: %v", p.follower.ended)
	}
}
