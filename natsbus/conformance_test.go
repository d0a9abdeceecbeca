package natsbus_test

import (
	"testing"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/natsbus/internal/natstest"
)

func conform(t *testing.T, url string, opts ...natsbus.Option) {
	backplanetest.Run(t, backplanetest.Harness{
		New: func(t testing.TB) backplane.Backplane {
			bus, err := natsbus.New(natstest.Connect(t, url), opts...)
			if err != nil {
				t.Fatal(err)
			}
			return bus
		},
		MaxData:  1<<20 - 1<<10,
		TooLarge: 2 << 20,
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conform(t, natstest.Start(t).URL())
}

func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	conform(t, natstest.StartCluster(t).URL(), natsbus.WithReplicas(3))
}
