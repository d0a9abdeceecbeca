package redisbus_test

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/redisbus"
)

func ExampleNew() {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer client.Close()
	bus, err := redisbus.New(client, redisbus.WithLogger(slog.Default()))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = bus // broker.NewBroker(nil, broker.WithBackplane(bus))
}

// Behind Sentinel, with a primary whose publishes wait for one replica.
func ExampleWithReplicas() {
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:    "main",
		SentinelAddrs: []string{"sentinel-1:26379", "sentinel-2:26379", "sentinel-3:26379"},
	})
	defer client.Close()
	bus, err := redisbus.New(client, redisbus.WithReplicas(1, 200*time.Millisecond))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = bus
}
