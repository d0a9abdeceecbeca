package redisbus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/redisbus/internal/redistest"
)

// openFor opens a log of the test's own.
func openFor(t *testing.T, client *redis.Client, age time.Duration) *log {
	t.Helper()
	bus, err := New(client)
	if err != nil {
		t.Fatal(err)
	}
	open, err := bus.Open(t.Context(), backplane.Config{
		Namespace: t.Name(), RetentionAge: age, RetentionBytes: 1 << 20,
		IdempotencyWindow: time.Minute, ResumeGrace: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = open.Close(context.Background()) })
	return open.(*log)
}

// openAlone opens a log on a server of the test's own, and returns it with the server and a client.
func openAlone(t *testing.T) (*log, *redistest.Server, *redis.Client) {
	t.Helper()
	server := redistest.Start(t, "redis-7.0")
	client := server.Client()
	t.Cleanup(func() { _ = client.Close() })
	return openFor(t, client, time.Minute), server, client
}

func batchOf(producer string, number uint64) backplane.Batch {
	return backplane.Batch{Producer: producer, Number: number, Messages: []backplane.Message{{Data: []byte("x")}}}
}

func mustPublish(t *testing.T, l *log, producer string, number uint64) backplane.Position {
	t.Helper()
	positions, err := l.Publish(t.Context(), batchOf(producer, number))
	if err != nil {
		t.Fatal(err)
	}
	return positions[0]
}

// split is a primary that was replaced by its replica and lives on, and a client that is still there.
type split struct {
	primary, replica *redistest.Server
	address          *redistest.Proxy
	client, onNew    *redis.Client
}

// newSplit makes one, of which before has been run and replicated.
func newSplit(t *testing.T, before func(*redis.Client)) *split {
	t.Helper()
	s := &split{primary: redistest.Start(t, "redis-7.0"), replica: redistest.Start(t, "redis-7.0")}
	s.address = redistest.NewProxy(t, s.primary.Addr)
	host, port, _ := net.SplitHostPort(s.primary.Addr)
	s.replica.Do("replicaof", host, port)
	redistest.WaitReplica(t, s.replica)
	s.client = redis.NewClient(&redis.Options{Addr: s.address.Addr})
	s.onNew = s.replica.Client()
	t.Cleanup(func() { _ = errors.Join(s.client.Close(), s.onNew.Close()) })
	before(s.client)
	redistest.Eventually(t, "the replica has all", func() error {
		if a, b := s.primary.Info("master_repl_offset"), s.replica.Info("master_repl_offset"); a != b {
			return fmt.Errorf("%s of %s", b, a)
		}
		return nil
	})
	s.replica.Do("replicaof", "no", "one")
	return s
}

type nobody struct{}

func (nobody) Page(backplane.Page) {}
func (nobody) Link(error)          {}

// What another server had accepted is missed also where the reply that could have told of it was
// lost, and where the batch of that reply was given up.
func TestLossIsFoundWithoutTheReply(t *testing.T) {
	t.Parallel()
	for _, next := range []uint64{3, 4} {
		t.Run(fmt.Sprint("batch ", next, " comes next"), func(t *testing.T) {
			t.Parallel()
			var l *log
			s := newSplit(t, func(c *redis.Client) {
				l = openFor(t, c, time.Minute)
				mustPublish(t, l, "node", 1)
			})
			at := mustPublish(t, openFor(t, s.onNew, time.Minute), "other", 1)
			mustPublish(t, l, "node", 2) // the old primary takes it
			s.address.To(s.replica.Addr)
			s.address.Cut()
			// The new primary executes 3, if it takes it, and nobody hears of that.
			args := l.publishArgs(batchOf("node", 3), 1)
			last, _ := l.lastAccepted("node")
			args[acceptedArg] = last.before(3)
			if err := s.onNew.Eval(t.Context(), publishScript.source, l.keys.ofPublish(), args...).Err(); err != nil {
				t.Fatal(err)
			}
			mustPublish(t, l, "node", next)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := l.Follow(ctx, at, nobody{}); !errors.Is(err, backplane.ErrEpoch) {
				t.Errorf("Follow ended with %v, want ErrEpoch", err)
			}
		})
	}
}

// A server that has forgotten what is old has not lost it.
func TestForgottenIsNotLost(t *testing.T) {
	t.Parallel()
	quiet, _, client := openAlone(t)
	busy := openFor(t, client, time.Minute)
	at := mustPublish(t, quiet, "quiet", 1)
	busy.limits = limits(busy.cfg, time.Second) // it forgets sooner
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- quiet.Follow(ctx, at, nobody{}) }()
	number := uint64(0)
	redistest.Eventually(t, "it is forgotten", func() error {
		number++
		mustPublish(t, busy, "busy", number)
		if client.HExists(t.Context(), quiet.keys.meta, "by quiet").Val() {
			return errors.New("it is there")
		}
		return nil
	})
	for range 3 { // looks of the follower
		quiet.look()
		if s, err := quiet.glance(t.Context()); err != nil || s.lost {
			t.Errorf("%+v, %v", s, err)
		}
	}
	mustPublish(t, quiet, "quiet", 2)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow ended with %v", err)
	}
}

// Commands that leave a server leave it with all their connections, those of pipelines too.
func TestAllCommandsLeaveTheServer(t *testing.T) {
	t.Parallel()
	var l *log
	session := func(id string) []backplane.Session { return []backplane.Session{{ID: id, Client: "c", Node: "n"}} }
	s := newSplit(t, func(c *redis.Client) {
		l = openFor(t, c, time.Minute)
		if _, err := l.Update(t.Context(), "n", session("one"), nil); err != nil {
			t.Fatal(err)
		}
	})
	s.address.To(s.replica.Addr)
	l.leaveServer(t.Context())
	if _, err := l.Update(t.Context(), "n", session("two"), nil); err != nil {
		t.Fatal(err)
	}
	if old, now := s.primary.Do("hlen", l.keys.sessions), s.replica.Do("hlen", l.keys.sessions); old != int64(1) || now != int64(2) {
		t.Errorf("the old primary has %v sessions, the new one %v", old, now)
	}
}

// The longest retention that a broker allows is one.
func TestLongestRetention(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-7.0")
	client := server.Client()
	defer client.Close()
	l := openFor(t, client, 100*365*24*time.Hour)
	for number := range uint64(3) {
		mustPublish(t, l, "node", number+1)
	}
	if n := client.XLen(t.Context(), l.keys.log).Val(); n != 3 {
		t.Errorf("%d entries", n)
	}
}

// Two servers that both take themselves for the primary, each at an epoch of its own: what the one
// has accepted is missed by those who follow the epoch of the other, so that when its publisher comes there that one is over too,
// unless it began later and so has announced it.
func TestLossInAnotherEpochIsAnnounced(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		announced bool
		publishes string // as whom the node goes on publishing before it follows
	}{{"while it publishes", false, "node"}, {"under another name", false, "node2"}, {"while it is quiet", false, ""}, {"it was announced", true, ""}} {
		announced, publishes := c.announced, c.publishes
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var l *log
			var first backplane.Position
			s := newSplit(t, func(c *redis.Client) {
				l = openFor(t, c, time.Minute)
				first = mustPublish(t, l, "node", 1)
			})
			other := openFor(t, s.onNew, time.Minute)
			newEpoch := func(l *log, old string) backplane.Bounds {
				t.Helper()
				b, err := l.NewEpoch(t.Context(), old)
				if err != nil {
					t.Fatal(err)
				}
				if b.Epoch == old {
					t.Fatalf("the epoch is still %s", old)
				}
				return b
			}
			var present backplane.Bounds
			if !announced {
				present = newEpoch(other, first.Epoch)
				mustPublish(t, other, "other", 1)
			}
			abandoned := newEpoch(l, first.Epoch)
			accepted := mustPublish(t, l, "node", 2)
			if accepted.Epoch != abandoned.Epoch {
				t.Fatalf("accepted in %s, not in %s", accepted.Epoch, abandoned.Epoch)
			}
			if announced {
				// That it was later is only certain of more than a call may take.
				time.Sleep(callTimeout + 200*time.Millisecond)
				present = newEpoch(other, first.Epoch)
				mustPublish(t, other, "other", 1)
			}
			s.address.To(s.replica.Addr)
			s.address.Cut()

			follow := func(after backplane.Position, patience time.Duration) error {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				return l.Follow(ctx, after, nobody{})
			}
			if err := follow(abandoned.Last, 10*time.Second); !errors.Is(err, backplane.ErrEpoch) {
				t.Fatalf("following the epoch that was given up ended with %v", err)
			}
			if b := newEpoch(l, abandoned.Epoch); b.Epoch != present.Epoch {
				t.Fatalf("the epoch became %s, not %s", b.Epoch, present.Epoch)
			}
			if announced {
				mustPublish(t, l, "node", 3)
				if err := follow(present.Last, 3*time.Second); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("following the present epoch ended with %v", err)
				}
				return
			}
			if publishes != "" {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				if got, err := l.Publish(ctx, batchOf(publishes, 3)); err == nil {
					t.Errorf("%v was accepted in an epoch that has announced nothing", got)
				}
			}
			if err := follow(present.Last, 10*time.Second); !errors.Is(err, backplane.ErrEpoch) {
				t.Errorf("following the present epoch ended with %v", err)
			}
			last := newEpoch(l, present.Epoch)
			if p := mustPublish(t, l, "node", 3); p.Epoch != last.Epoch {
				t.Errorf("accepted in %s, not in %s", p.Epoch, last.Epoch)
			}
			if err := follow(last.Last, 3*time.Second); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("following the last epoch ended with %v", err)
			}
		})
	}
}

// An epoch of which it is not known when it began can be followed.
func TestEpochWithoutBegin(t *testing.T) {
	t.Parallel()
	l, _, client := openAlone(t)
	at := mustPublish(t, l, "node", 1)
	if err := client.HDel(t.Context(), l.keys.meta, "since").Err(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	linked := make(chan error, 10)
	if err := l.Follow(ctx, at, links(linked)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Follow ended with %v", err)
	}
	if err := <-linked; err != nil {
		t.Errorf("it was not in touch: %v", err)
	}
}

type links chan error

func (links) Page(backplane.Page) {}
func (l links) Link(err error)    { l <- err }
