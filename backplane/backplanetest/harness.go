// Package backplanetest is the suite that every implementation of package
// backplane passes, and a fault injector to test what stands on one.
//
// A bus proves itself by one test against a real server:
//
//	func TestConformance(t *testing.T) {
//		backplanetest.Run(t, backplanetest.Harness{
//			New: func(t testing.TB) backplane.Backplane { return newBus(t, serverURL) },
//		})
//	}
//
// The suite asks for nothing but what the contract says. It waits generously
// for what must come about, and never takes the absence of something within a
// time for an answer unless the contract gives that time.
//
// [Faults] wraps a backplane for tests of a broker.
package backplanetest

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// Harness says how to reach the bus under test. Only New is required.
type Harness struct {
	// New returns a backplane with a connection of its own to the one bus under
	// test, as another process would have. It closes the connection in t.Cleanup:
	// the logs opened from it are closed by then.
	New func(t testing.TB) backplane.Backplane

	// Tick is the shortest time that the bus keeps well as a lease, a retention
	// age, a grace and the TTL of a fact: several round trips at a busy moment.
	// The suite waits for some tens of ticks in all. 0 is one second.
	Tick time.Duration
	// Patience is how long the suite waits for what must come about before it
	// fails. 0 is one minute.
	Patience time.Duration
	// MaxData is the size of the largest entry that the bus has to take. 0 is 1 MiB.
	MaxData int
	// TooLarge, unless it is 0, is a size that the bus cannot take.
	TooLarge int
	// Short makes the suite do a tenth of the heavy work.
	Short bool
	// Serial keeps the checks from running in parallel.
	Serial bool
	// Bubble runs each check under testing/synctest, for a bus without I/O.
	Bubble bool
}

// check is one guarantee of the contract.
type check struct {
	name string
	run  func(e *env)
}

// Run runs the suite. Each guarantee is a subtest of its own; each has a fresh
// namespace.
func Run(t *testing.T, h Harness) {
	h.Tick = defaultTo(h.Tick, time.Second)
	h.Patience = defaultTo(h.Patience, time.Minute)
	h.MaxData = defaultTo(h.MaxData, 1<<20)
	for _, group := range []struct {
		name   string
		checks []check
	}{
		{"Publish", publishChecks()},
		{"Key", keyChecks()},
		{"Follow", followChecks()},
		{"Read", readChecks()},
		{"Bounds", boundsChecks()},
		{"Retention", retentionChecks()},
		{"Epoch", epochChecks()},
		{"Lease", leaseChecks()},
		{"Update", updateChecks()},
		{"Sessions", sessionsChecks()},
		{"Collect", collectChecks()},
		{"ClientLeft", leftChecks()},
		{"Presence", presenceChecks()},
		{"Facts", factsChecks()},
		{"Names", nameChecks()},
		{"Namespaces", namespaceChecks()},
		{"Context", contextChecks()},
		{"Close", closeChecks()},
		{"Load", loadChecks()},
	} {
		t.Run(group.name, func(t *testing.T) {
			if !h.Serial {
				t.Parallel()
			}
			for _, c := range group.checks {
				t.Run(c.name, func(t *testing.T) { h.run(t, c) })
			}
		})
	}
}

func (h Harness) run(t *testing.T, c check) {
	if !h.Serial {
		t.Parallel()
	}
	name := strings.TrimPrefix(t.Name(), "Test")
	if !h.Bubble {
		c.run(newEnv(t, h, name))
		return
	}
	synctest.Test(t, func(t *testing.T) { c.run(newEnv(t, h, name)) })
}

func defaultTo[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
