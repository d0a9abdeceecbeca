package redisbus_test

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/redisbus/internal/redistest"
)

func sentinelWorld(t *testing.T, version string) (*redistest.Sentinel, *world) {
	t.Helper()
	s := redistest.StartSentinel(t, version)
	var clients []redis.UniversalClient
	for range 3 {
		clients = append(clients, s.Client())
	}
	return s, newWorld(t, clients...)
}

func TestSentinelFailoverPlanned(t *testing.T) {
	t.Parallel()
	s, w := sentinelWorld(t, "redis-7.0")
	old := s.Primary()
	s.Failover()
	s.WaitOtherPrimary(old)
	w.finish(true)
}

func TestSentinelPrimaryKilled(t *testing.T) {
	t.Parallel()
	s, w := sentinelWorld(t, "redis-8.0")
	old := s.Primary()
	old.Kill()
	s.WaitOtherPrimary(old)
	w.flows("on the new primary")
	old.Launch() // with nothing, and for a moment sure to be the primary
	redistest.WaitReplica(t, old)
	w.finish(true)
}

func TestSentinelPrimaryPaused(t *testing.T) {
	t.Parallel()
	s, w := sentinelWorld(t, "valkey-8.1")
	old := s.Primary()
	old.Pause()
	s.WaitOtherPrimary(old)
	w.flows("on the new primary")
	old.Resume()
	redistest.WaitReplica(t, old)
	w.finish(true)
}

// pair is a primary and a replica of it that can be cut off, behind one address.
type pair struct {
	primary, replica *redistest.Server
	replication      *redistest.Proxy
	address          *redistest.Proxy
}

func newPair(t *testing.T, version string, replicaOptions ...redistest.Option) *pair {
	t.Helper()
	p := &pair{primary: redistest.Start(t, version)}
	p.replication = redistest.NewProxy(t, p.primary.Addr)
	p.replica = redistest.Start(t, version, replicaOptions...)
	p.replicate(t)
	p.address = redistest.NewProxy(t, p.primary.Addr)
	return p
}

func (p *pair) replicate(t *testing.T) {
	t.Helper()
	host, port, err := net.SplitHostPort(p.replication.Addr)
	if err != nil {
		t.Fatal(err)
	}
	p.replica.Do("replicaof", host, port)
	redistest.WaitReplica(t, p.replica)
}

// synced waits until the replica has what the primary has.
func (p *pair) synced(t *testing.T) {
	t.Helper()
	redistest.Eventually(t, "the replica is up to date", func() error {
		// A number that was true a moment ago: at least all from before is there.
		at, _ := strconv.Atoi(p.primary.Info("master_repl_offset"))
		if to, _ := strconv.Atoi(p.replica.Info("master_repl_offset")); to < at {
			return fmt.Errorf("%d of %d", to, at)
		}
		return nil
	})
}

// promote makes the replica the primary, and kills the old one or lets it live.
func (p *pair) promote(kill bool) {
	if kill {
		p.primary.Kill()
	}
	p.replica.Do("replicaof", "no", "one")
	p.address.To(p.replica.Addr)
	p.address.Cut()
}

func TestFailoverWithLostTail(t *testing.T) {
	t.Parallel()
	for _, version := range redistest.Versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, version)
			w := newWorld(t, clientsOf(p.address.Addr, 3)...)
			p.synced(t)
			p.replication.Refuse(true)
			p.replication.Cut()
			w.flows("without the replica")
			p.promote(true)
			if o := w.finish(true); o.resets < 3 {
				t.Errorf("%d resets of 3 nodes: each of them had what was lost", o.resets)
			}
		})
	}
}

func TestFailoverWithLostTailAndClockBehind(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", redistest.Clock(-5*time.Second))
	w := newWorld(t, clientsOf(p.address.Addr, 3)...)
	p.synced(t)
	p.replication.Refuse(true)
	p.replication.Cut()
	w.flows("without the replica")
	p.promote(true)
	if o := w.finish(true); o.resets < 3 {
		t.Errorf("%d resets of 3 nodes: each of them had what was lost", o.resets)
	}
}

func TestFailoverWithoutLoss(t *testing.T) {
	t.Parallel()
	p := newPair(t, "valkey-8.1", redistest.Clock(-5*time.Second))
	w := newWorld(t, clientsOf(p.address.Addr, 2)...)
	// Writes stop, the replica catches up, then it takes over: as an operator does it.
	p.primary.Do("client", "pause", 10000, "write")
	p.synced(t)
	p.promote(true)
	noLoss(t, w.finish(true))
}

func TestEmptyReplicaPromoted(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{true, false} {
		t.Run("old primary killed "+strconv.FormatBool(kill), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "redis-8.0", redistest.Clock(-5*time.Second))
			w := newWorld(t, clientsOf(p.address.Addr, 2)...)
			p.replication.Refuse(true)
			p.replication.Cut()
			p.replica.Do("replicaof", "no", "one")
			p.replica.Do("flushall")
			p.promote(kill)
			if o := w.finish(false); o.resets < 2 {
				t.Errorf("%d resets of 2 nodes", o.resets)
			}
		})
	}
}

func clusterWorld(t *testing.T, version string, nodes int) (*redistest.Cluster, *world) {
	t.Helper()
	c := redistest.StartCluster(t, version)
	var clients []redis.UniversalClient
	for range nodes {
		clients = append(clients, c.Client())
	}
	return c, newWorld(t, clients...)
}

// key is one of the keys of a test's namespace.
func key(t *testing.T) string { return "sseplane:{" + t.Name() + "}:meta" }

func TestClusterFailoverPlanned(t *testing.T) {
	t.Parallel()
	c, w := clusterWorld(t, "redis-7.0", 2)
	owner, _ := c.Owner(key(t))
	c.ReplicaOf(owner).Do("cluster", "failover")
	redistest.Eventually(t, "the replica owns the slot", func() error {
		if owner.Info("role") == "master" {
			return strconv.ErrRange
		}
		return nil
	})
	noLoss(t, w.finish(true))
}

func TestClusterPrimaryKilled(t *testing.T) {
	t.Parallel()
	c, w := clusterWorld(t, "valkey-8.1", 2)
	owner, _ := c.Owner(key(t))
	owner.Kill()
	w.finish(true)
}

func TestClusterSlotMigrated(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"redis-7.0", "redis-8.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c, w := clusterWorld(t, version, 3)
			for range 2 {
				from, to := c.Owner(key(t))
				c.MoveSlot(c.Slot(key(t)), from, to)
				w.flows("on the new owner")
			}
			noLoss(t, w.finish(true))
		})
	}
}

// The connections of commands stay with a primary that was replaced and lives on: it was cut off, or
// was back before a connection that was being made noticed anything. Only the followers, which
// had to connect again, are where the address leads now.
func TestFailoverThatCommandsHaveMissed(t *testing.T) {
	t.Parallel()
	for _, version := range redistest.Versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, version)
			w := newWorld(t, clientsOf(p.address.Addr, 3)...)
			p.synced(t)
			p.replica.Do("replicaof", "no", "one")
			p.address.To(p.replica.Addr)
			disconnectReaders(p.primary)
			start := time.Now()
			w.flows("on the new primary")
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("the commands were on the old primary for %v", took)
			}
			p.primary.Kill() // what it has accepted meanwhile is lost
			w.finish(true)
		})
	}
}

// A primary that takes no writes without a replica, as the documentation wants it, is left by all when
// its replica has been promoted. It counts its replicas once a second: what it takes until then is lost.
func TestFailoverFromAPrimaryThatWantsReplicas(t *testing.T) {
	t.Parallel()
	for _, version := range redistest.Versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, version)
			p.primary.Do("config", "set", "min-replicas-to-write", "1")
			w := newWorld(t, clientsOf(p.address.Addr, 3)...)
			p.synced(t)
			p.replica.Do("replicaof", "no", "one")
			p.address.To(p.replica.Addr)
			start := time.Now()
			w.flows("on the new primary")
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("they were on the old primary for %v", took)
			}
			p.primary.Kill()
			w.finish(true)
		})
	}
}

// What a node's commands have written to the old primary while it followed the new one is
// missed, although the positions of the new one are higher by then.
func TestFailoverHasLostWhatWasNotFollowed(t *testing.T) {
	t.Parallel()
	for _, goesOn := range []bool{true, false} { // publishing
		t.Run(fmt.Sprint("goes on ", goesOn), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "redis-8.0")
			log := openLog(t, clientsOf(p.address.Addr, 1)[0], testConfig(t))
			publishOne(t, log, "node", 1)
			p.synced(t)
			p.replica.Do("replicaof", "no", "one")
			p.address.To(p.replica.Addr)
			at := publishOne(t, openLog(t, p.replica.Client(), testConfig(t)), "other", 1)
			if lost := publishOne(t, log, "node", 2); lost.Epoch != at.Epoch || lost.Seq >= at.Seq {
				t.Fatalf("the old primary gave %v, the new one %v", lost, at)
			}

			ended := make(chan error, 1)
			go func() { ended <- log.Follow(t.Context(), at, &node{id: "node", t: t}) }()
			number := uint64(2)
			redistest.Eventually(t, "it is told", func() error {
				select {
				case err := <-ended:
					if !errors.Is(err, backplane.ErrEpoch) {
						t.Errorf("Follow ended with %v, want ErrEpoch", err)
					}
					return nil
				default:
					if number++; goesOn {
						batch := backplane.Batch{Producer: "node", Number: number, Messages: []backplane.Message{{}}}
						_, _ = log.Publish(t.Context(), batch) // refused, once the commands are on the new primary
					}
					return errors.New("it still follows")
				}
			})
		})
	}
}

func publishOne(t *testing.T, log backplane.Log, producer string, number uint64) backplane.Position {
	t.Helper()
	b := backplane.Batch{Producer: producer, Number: number, Messages: []backplane.Message{{Data: []byte(producer)}}}
	positions, err := log.Publish(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return positions[0]
}

// disconnectReaders ends the connections that wait in XREAD.
func disconnectReaders(s *redistest.Server) {
	for line := range strings.Lines(s.Do("client", "list").(string)) {
		if id, rest, ok := strings.Cut(strings.TrimPrefix(line, "id="), " "); ok && strings.Contains(rest, " cmd=xread ") {
			s.Do("client", "kill", "id", id)
		}
	}
}
