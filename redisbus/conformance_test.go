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

func TestConformance(t *testing.T) {
	for _, version := range redistest.Versions {
		t.Run(version, func(t *testing.T) {
			server := redistest.Start(t, version)
			backplanetest.Run(t, backplanetest.Harness{
				New: func(t testing.TB) backplane.Backplane {
					return newBus(t, redis.NewClient(&redis.Options{Addr: server.Addr}))
				},
				Tick:     500 * time.Millisecond,
				TooLarge: redisbus.MaxEntry + 1,
				Short:    testing.Short(),
			})
		})
	}
}
