// Package buses holds every kind of deployment of the buses, in containers, to the
// contract, and runs brokers on it.
package buses

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/integration/internal/bus"
	"github.com/sseplane/sseplane/integration/internal/dock"
)

var kinds = []struct {
	name    string
	start   bus.Start
	harness backplanetest.Harness
}{
	{"Redis", bus.Redis, backplanetest.Harness{}},
	{"RedisCluster", bus.RedisCluster, backplanetest.Harness{}},
	{"RedisSentinel", bus.RedisSentinel, backplanetest.Harness{}},
	{"NATS", bus.NATS, backplanetest.Harness{MaxData: 1<<20 - 1<<10, TooLarge: 2 << 20}},
	{"NATSCluster", bus.NATSCluster, backplanetest.Harness{MaxData: 1<<20 - 1<<10, TooLarge: 2 << 20}},
}

// TestMain lets more tests run at once than there are processors, because most of the
// time they wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestBuses(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			b := k.start(t, dock.NewNetwork(t))
			t.Run("Conformance", func(t *testing.T) {
				h := k.harness
				h.New = b.Backplane
				h.Short = true // the drivers' own tests do the heavy work
				backplanetest.Run(t, h)
			})
			t.Run("Brokers", func(t *testing.T) { testBrokers(t, b) })
		})
	}
}
