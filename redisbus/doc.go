// Package redisbus is the backplane on Redis.
package redisbus
