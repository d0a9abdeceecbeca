package broker

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	modelSeed  = flag.Uint64("model.seed", 0, "run the model with this seed alone")
	modelSeeds = flag.Uint64("model.seeds", 500, "how many seeds TestModel runs")
	modelFirst = flag.Uint64("model.first", 1, "the first of them; 0: a random one")
	modelKeep  = flag.Int64("model.keep", 1, "how many seeds may fail before TestModel gives up")
	modelSteps = flag.Int("model.steps", 120, "how long a run is")
)

// maxModelLate is how late the model's lines deliver.
const maxModelLate = 2 * time.Second

// modelLimits makes queues, pages and batches so small that they overflow.
func modelLimits(m mood) Option {
	return option(func(c *config) {
		c.queueFrames, c.queueBytes, c.scanPage, c.rosterBatch = m.queue, m.queue*200, m.scanPage, m.batch
	})
}

// TestModel lets several nodes meet on one bus that suffers all that buses suffer, with
// clients that do what browsers and people do, and compares what they saw with
// what the bus did.
func TestModel(t *testing.T) {
	if *modelSeed != 0 {
		runModel(t, *modelSeed)
		return
	}
	first := *modelFirst
	if first == 0 {
		first = rand.Uint64() >> 16
	}
	var next atomic.Uint64
	var failed atomic.Int64
	for i := range 2 {
		t.Run(fmt.Sprintf("worker %d", i), func(t *testing.T) {
			t.Parallel()
			for {
				n := next.Add(1) - 1
				if n >= *modelSeeds || failed.Load() >= *modelKeep {
					return
				}
				if !t.Run(fmt.Sprint("seed ", first+n), func(t *testing.T) { runModel(t, first+n) }) {
					failed.Add(1)
				}
			}
		})
	}
}

func runModel(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed, *modelSteps)
		w.run()
		if len(w.errs) == 0 {
			return
		}
		for _, err := range w.errs {
			w.diary.note("FAIL: %s", err)
		}
		w.diary.save(seed)
		for _, err := range w.errs[:min(len(w.errs), 4)] {
			t.Errorf("%s", err)
		}
		t.Errorf("seed %d, mood %+v\nrun it again, several times, for not all chance is the seed's: go test -race ./broker -run 'TestModel$' -count 20 -model.seed %d -model.steps %d",
			seed, w.mood, seed, *modelSteps)
	})
}
