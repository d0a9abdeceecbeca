package chaos

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sseplane/sseplane/integration/internal/bus"
	"github.com/sseplane/sseplane/integration/internal/fleet"
	"github.com/sseplane/sseplane/integration/internal/repo"
)

var (
	seed    = flag.Uint64("chaos.seed", 0, "the order in which things are broken; 0 for a random one")
	storm   = flag.Duration("chaos.time", 40*time.Second, "for how long things are broken, per bus")
	clients = flag.Int("chaos.clients", 200, "how many clients there are")
)

// TestChaos is the promise, outside of this process. integration/soak runs it for hours.
func TestChaos(t *testing.T) {
	for _, b := range []struct {
		name  string
		start bus.Start
	}{
		{"redis", bus.Redis},
		{"redis-sentinel", bus.RedisSentinel},
		{"nats-cluster", bus.NATSCluster},
	} {
		t.Run(b.name, func(t *testing.T) { testChaos(t, b.start) })
	}
}

func testChaos(t *testing.T, start bus.Start) {
	plan := Plan{Seed: *seed, Time: *storm, Clients: *clients, Topics: 6, Directs: 5}
	if plan.Seed == 0 {
		plan.Seed = rand.Uint64N(1_000_000) + 1
	}
	// Short times, so that much happens in little of it.
	f := fleet.Start(t, start, 3, "-lease", "3s", "-drain", "4s")
	r := &Run{Plan: plan, Fleet: f, History: NewHistory(), Log: t.Logf}
	ctx, cancel := context.WithTimeout(t.Context(), plan.Time+10*time.Minute)
	defer cancel()
	problems, err := r.Do(ctx)

	path := repo.Artifact(t, fmt.Sprintf("chaos-%s.jsonl", f.Bus.Kind))
	if len(problems) > 0 || err != nil {
		path = repo.Artifact(t, fmt.Sprintf("chaos-%s-seed-%d-failed.jsonl", f.Bus.Kind, plan.Seed))
	}
	if err := r.History.Save(path); err != nil {
		t.Errorf("keeping the history: %v", err)
	}
	t.Logf("seed %d: %s; the history is %s", plan.Seed, summary(r.History.Records()), path)
	if err != nil {
		t.Errorf("seed %d: the run did not come to its end: %v", plan.Seed, err)
	}
	const most = 10
	for i, p := range problems {
		if i == most {
			t.Errorf("and %d more", len(problems)-most)
			break
		}
		t.Error(p)
	}
	if t.Failed() {
		for _, c := range f.Replicas {
			if text, err := c.Logs(); err == nil {
				t.Logf("the end of the log of %s:\n%s", c.Name, text[max(0, len(text)-3000):])
			}
		}
	}
}

func summary(records []Record) string {
	count := map[string]int{}
	for _, r := range records {
		count[r.Kind]++
	}
	return fmt.Sprintf("%d events accepted, %d received, %d attempts in doubt, %d streams, %d resets, %d faults",
		count[Published], count[Received], count[Doubted], count[Opened], count[WasReset], count[Fault]/2)
}
