package chaos

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/sseplane/sseplane/integration/internal/bus"
	"github.com/sseplane/sseplane/integration/internal/dock"
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

	name := "chaos-" + f.Bus.Kind
	if len(problems) > 0 || err != nil {
		name += fmt.Sprintf("-seed-%d-failed", plan.Seed)
	}
	path := repo.Artifact(t, name+".jsonl")
	if err := r.History.Save(path); err != nil {
		t.Errorf("keeping the history: %v", err)
	}
	keepLogs(t, f, name)
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
}

// keepLogs keeps what the replicas and the servers of the bus have written, beside the history.
func keepLogs(t *testing.T, f *fleet.Fleet, name string) {
	for _, c := range append(append([]*dock.Container(nil), f.Replicas...), f.Bus.Servers...) {
		text, err := c.Logs()
		if err == nil {
			err = os.WriteFile(repo.Artifact(t, name+"-"+c.Name+".log"), []byte(text), 0o644)
		}
		if err != nil {
			t.Errorf("keeping the log of %s: %v", c.Name, err)
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
