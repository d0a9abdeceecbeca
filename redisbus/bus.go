// Package redisbus is the backplane on Redis.
package redisbus

import "github.com/redis/go-redis/v9"

// Bus is the backplane on one Redis deployment.
type Bus struct {
	client redis.UniversalClient
}
