package natsbus_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/natsbus/internal/natstest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	conform(t, natstest.Start(t).URL())
}

func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	conform(t, natstest.StartCluster(t).URL(), natsbus.WithReplicas(3))
}

func conform(t *testing.T, url string, opts ...natsbus.Option) {
	backplanetest.Run(t, backplanetest.Harness{
		New: func(t testing.TB) backplane.Backplane {
			nc := natstest.Connect(t, url)
			bus, err := natsbus.New(nc, opts...)
			if err != nil {
				t.Fatal(err)
			}
			return tidyBus{bus, nc, t}
		},
		Tick:     500 * time.Millisecond,
		MaxData:  1<<20 - 1<<10,
		TooLarge: 2 << 20,
		Short:    testing.Short(),
	})
}

// tidyBus deletes the streams of a namespace after the test, so that the next
// ones have the server to themselves.
type tidyBus struct {
	*natsbus.Bus
	nc *nats.Conn
	t  testing.TB
}

func (b tidyBus) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	b.t.Cleanup(func() {
		log, register := natsbus.Streams(cfg.Namespace)
		for _, stream := range []string{log, register} {
			// Another node's cleanup may have come first; a stream that stays costs time, no more.
			_, _ = b.nc.Request("$JS.API.STREAM.DELETE."+stream, nil, 5*time.Second)
		}
	})
	return b.Bus.Open(ctx, cfg)
}
