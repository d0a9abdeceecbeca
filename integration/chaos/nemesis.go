package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/sseplane/sseplane/integration/internal/dock"
	"github.com/sseplane/sseplane/integration/internal/fleet"
)

// drainTime is how long a replica may take to end when it is asked to.
const drainTime = 10 * time.Second

// healed ends the note of a fault that is over.
const healed = ": healed"

// nemesis breaks things and heals them.
type nemesis struct {
	fleet   *fleet.Fleet
	history *History
	random  *rand.Rand // used by one goroutine
	deck    []func() []fault
}

// fault is something to break: it returns when it has healed it again.
type fault struct {
	name   string
	target string
	run    func(ctx context.Context) error
}

// rage breaks one thing after the other, now and then several at once, until time is
// over and every kind of fault has come at least once. All is healed when it returns; an
// error means that docker would not do what it was told.
func (n *nemesis) rage(ctx context.Context, until time.Time) error {
	for drawn := 0; ctx.Err() == nil && (time.Now().Before(until) || drawn < len(n.kinds())); drawn++ {
		pause(ctx, n.between(500*time.Millisecond, 3*time.Second))
		var wait sync.WaitGroup
		faults := n.choose()
		errs := make([]error, len(faults))
		for i, f := range faults {
			wait.Go(func() {
				n.history.Add(Record{Kind: Fault, Node: f.target, Note: f.name})
				errs[i] = f.run(ctx)
				n.history.Add(Record{Kind: Fault, Node: f.target, Note: f.name + healed})
			})
		}
		wait.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// choose draws what is broken next. Every kind of fault comes once before one comes a
// second time.
func (n *nemesis) choose() []fault {
	if len(n.deck) == 0 {
		n.deck = n.kinds()
		n.random.Shuffle(len(n.deck), func(i, k int) { n.deck[i], n.deck[k] = n.deck[k], n.deck[i] })
	}
	draw := n.deck[0]
	n.deck = n.deck[1:]
	return draw()
}

// kinds are all kinds of faults. What they hit is drawn when they come.
func (n *nemesis) kinds() []func() []fault {
	one := func(f func() fault) func() []fault { return func() []fault { return []fault{f()} } }
	all := []func() []fault{
		one(func() fault { return n.ofReplica(n.replica(), 0) }),
		one(func() fault { return n.ofReplica(n.replica(), 1) }),
		one(func() fault { return n.ofReplica(n.replica(), 2) }),
		one(func() fault { return n.ofReplica(n.replica(), 3) }),
		n.several,
		one(n.roll),
		one(func() fault { return n.pauseOf(n.server()) }),
	}
	if !n.fleet.Bus.Forgets { // where killing a server is a failover, that is
		all = append(all, one(func() fault { return n.kill(n.server()) }))
	}
	if failover := n.fleet.Bus.Failover; failover != nil {
		all = append(all, one(func() fault { return fault{"failover", "bus", failover} }))
	}
	return all
}

// several hits two or more replicas at once.
func (n *nemesis) several() (faults []fault) {
	replicas := n.fleet.Replicas
	for _, i := range n.random.Perm(len(replicas))[:2+n.random.IntN(len(replicas)-1)] {
		faults = append(faults, n.ofReplica(replicas[i], n.random.IntN(4)))
	}
	return faults
}

func (n *nemesis) replica() *dock.Container {
	return n.fleet.Replicas[n.random.IntN(len(n.fleet.Replicas))]
}

func (n *nemesis) server() *dock.Container {
	return n.fleet.Bus.Servers[n.random.IntN(len(n.fleet.Bus.Servers))]
}

func (n *nemesis) ofReplica(replica *dock.Container, kind int) fault {
	switch kind {
	case 0:
		return n.kill(replica)
	case 1:
		return n.pauseOf(replica)
	case 2:
		return n.cut(replica, n.fleet.Back, "cut off from the bus")
	default:
		return n.cut(replica, n.fleet.Front, "cut off from the clients")
	}
}

// kill is kill -9.
func (n *nemesis) kill(c *dock.Container) fault {
	return n.forAWhile("killed", c, 5*time.Second, c.Kill, c.Start)
}

// pauseOf freezes a program for longer, perhaps, than its lease.
func (n *nemesis) pauseOf(c *dock.Container) fault {
	return n.forAWhile("paused", c, 8*time.Second, c.Pause, c.Unpause)
}

// cut takes a container off a network without a word to anybody.
func (n *nemesis) cut(c *dock.Container, from *dock.Network, name string) fault {
	return n.forAWhile(name, c, 8*time.Second,
		func() error { return c.Cut(from) }, func() error { return c.Heal(from) })
}

func (n *nemesis) forAWhile(name string, c *dock.Container, most time.Duration, begin, end func() error) fault {
	d := n.between(200*time.Millisecond, most)
	return fault{fmt.Sprintf("%s for %v", name, d.Round(time.Millisecond)), c.Name, func(ctx context.Context) error {
		if err := begin(); err != nil {
			return err
		}
		pause(ctx, d)
		return end()
	}}
}

// roll is a deploy: one replica after the other drains, ends, and starts anew.
func (n *nemesis) roll() fault {
	names := make([]string, len(n.fleet.Replicas))
	for i, r := range n.fleet.Replicas {
		names[i] = r.Name
	}
	return fault{"rolled", strings.Join(names, ","), func(ctx context.Context) error {
		for _, r := range n.fleet.Replicas {
			if err := r.Stop(drainTime); err != nil {
				return err
			}
			if err := r.Start(); err != nil {
				return err
			}
			if err := n.fleet.Healthy(ctx); err != nil {
				return err
			}
		}
		return nil
	}}
}

func (n *nemesis) between(least, most time.Duration) time.Duration {
	return least + time.Duration(n.random.Int64N(int64(most-least)))
}
