package redisbus

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// callTimeout is how long one attempt of a command may take. It bounds how long
	// Close waits for one that the server does not answer.
	callTimeout = time.Second
	// callBudget is for how long a command that failed is tried again.
	callBudget = 3 * time.Second
)

// commandClient returns a client for commands like the one given, with timeouts of
// our own and without retries of its own: these are ours, by the caller's context.
// release frees what the client holds.
//
// That of a *redis.Client shares the pool of the caller's: a failover client
// closes the connections in it when Sentinel announces another primary, and
// only so publishes leave the old one at once.
func commandClient(client redis.UniversalClient) (c redis.UniversalClient, release func()) {
	switch client := client.(type) {
	case *redis.Client:
		clone := client.WithTimeout(callTimeout)
		o := clone.Options() // the clone's own
		o.ContextTimeoutEnabled = true
		o.MaxRetries = 0
		return clone, func() {}
	case *redis.ClusterClient:
		o := clusterOptions(client)
		o.PoolSize = client.Options().PoolSize
		own := redis.NewClusterClient(o)
		return own, func() { _ = own.Close() }
	}
	panic("unreachable: New has seen the type")
}

// followClient returns a client with connections of its own, for one follower.
// To close it is the only way to interrupt a read that blocks.
func followClient(client redis.UniversalClient) redis.UniversalClient {
	switch client := client.(type) {
	case *redis.Client:
		o := *client.Options()
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout = callTimeout, callTimeout, callTimeout
		o.ContextTimeoutEnabled = true
		o.MaxRetries = -1
		o.DialerRetries = 1
		o.PoolSize, o.PoolTimeout = 2, callTimeout
		o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns = 0, 0, 0
		o.PipelinePoolSize = 0
		o.ClientSideCache, o.ClientSideCacheConfig = nil, nil
		o.Limiter = nil
		o.PushNotificationProcessor, o.MaintNotificationsConfig = nil, noNotifications()
		return redis.NewClient(&o)
	case *redis.ClusterClient:
		return redis.NewClusterClient(clusterOptions(client))
	}
	panic("unreachable: New has seen the type")
}

func clusterOptions(client *redis.ClusterClient) *redis.ClusterOptions {
	o := *client.Options()
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = callTimeout, callTimeout, callTimeout
	o.ContextTimeoutEnabled = true
	o.MaxRetries = -1
	o.MaxRedirects = 3
	o.MinRetryBackoff, o.MaxRetryBackoff = 5*time.Millisecond, 50*time.Millisecond
	o.DialerRetries = 1
	o.PoolSize, o.PoolTimeout = 2, callTimeout
	o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns = 0, 0, 0
	o.PipelinePoolSize = 0
	o.PushNotificationProcessor, o.MaintNotificationsConfig = nil, noNotifications()
	return &o
}

// noNotifications switches off what go-redis asks servers to announce. The options of a client
// hold its processor of these, and two clients with one get into each other's way.
func noNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// temporary reports whether it makes sense to repeat a command that failed so:
// nobody answered, or the server said that it cannot just now.
func temporary(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	if netErr := net.Error(nil); errors.As(err, &netErr) {
		return true
	}
	if isAny(err, net.ErrClosed, redis.ErrPoolTimeout, errOtherEpoch, errLacks) {
		return true
	}
	text := err.Error()
	for _, prefix := range []string{
		"TRYAGAIN", "ASK ", "MOVED ", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN", "UNBLOCKED", "NOREPLICAS",
		"BUSY ", "ERR max number of clients", "NOSCRIPT",
	} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return strings.Contains(text, "READONLY You can't write")
}
