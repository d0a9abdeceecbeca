package redisbus_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/redisbus"
	"github.com/sseplane/sseplane/redisbus/internal/redistest"
)

func newBus(t testing.TB, client redis.UniversalClient, options ...redisbus.Option) *redisbus.Bus {
	t.Helper()
	t.Cleanup(func() { _ = client.Close() })
	bus, err := redisbus.New(client, options...)
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

func conform(t *testing.T, client func() redis.UniversalClient) {
	backplanetest.Run(t, backplanetest.Harness{
		New:      func(t testing.TB) backplane.Backplane { return newBus(t, client()) },
		Tick:     time.Second,
		TooLarge: redisbus.MaxEntry + 1,
		Short:    testing.Short(),
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, version := range redistest.Versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, version)
			conform(t, func() redis.UniversalClient {
				return redis.NewClient(&redis.Options{Addr: server.Addr})
			})
		})
	}
}

func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"redis-7.0", "valkey-8.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t, version)
			conform(t, func() redis.UniversalClient { return cluster.Client() })
		})
	}
}

func TestConformanceSentinel(t *testing.T) {
	t.Parallel()
	sentinel := redistest.StartSentinel(t, "redis-8.0")
	conform(t, func() redis.UniversalClient { return sentinel.Client() })
}
