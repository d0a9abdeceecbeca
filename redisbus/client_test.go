package redisbus

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

// The clients that the bus makes share nothing that processes replies with the caller's.
func TestOwnClientsShareNoProcessor(t *testing.T) {
	single := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer single.Close()
	follower := followClient(single).(*redis.Client)
	defer follower.Close()
	theirs := single.Options().PushNotificationProcessor
	if theirs == nil {
		t.Error("the caller's options hold no processor: this test shows nothing")
	}
	if follower.Options().PushNotificationProcessor == theirs {
		t.Error("a follower shares the processor of the caller's client")
	}
	cluster := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{"127.0.0.1:1"}, PushNotificationProcessor: redis.NewPushNotificationProcessor(),
	})
	defer cluster.Close()
	if clusterOptions(cluster).PushNotificationProcessor != nil {
		t.Error("a client of a Cluster shares the processor of the caller's")
	}
}
