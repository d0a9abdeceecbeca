package redisbus

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// checkServer asks the server that holds the namespace what it is, refuses it when
// the bus cannot work on it, and reports what may hurt.
func (l *log) checkServer(ctx context.Context) error {
	if err := l.enter(ctx); err != nil {
		return err
	}
	defer l.work.Done()
	text, err := do(ctx, l, "open", callTimeout, func(ctx context.Context) (string, error) {
		c, err := l.server(ctx)
		if err != nil {
			return "", err
		}
		return c.Info(ctx).Result()
	})
	if err != nil {
		return err
	}
	info := parseInfo(text)
	if v := info["redis_version"]; !atLeast(v, 6, 2) {
		return fmt.Errorf("redisbus: open: the server is of version %q, and has to be of 6.2 or later", v)
	}
	if role := info["role"]; role != "master" {
		return fmt.Errorf("redisbus: open: READONLY the server is a %s, not a primary", role)
	}
	if policy := info["maxmemory_policy"]; policy != "noeviction" && policy != "" {
		l.bus.opts.logger.Warn("redisbus: the server evicts keys when its memory is full, which loses history or register: set maxmemory-policy noeviction",
			"maxmemory_policy", policy, "maxmemory", info["maxmemory"])
	}
	return nil
}

// server returns the client of the one server that holds the namespace now.
func (l *log) server(ctx context.Context) (*redis.Client, error) {
	if cluster, ok := l.commands.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, l.keys.meta)
	}
	return l.commands.(*redis.Client), nil
}

func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

func atLeast(version string, major, minor int) bool {
	a, rest, _ := strings.Cut(version, ".")
	b, _, _ := strings.Cut(rest, ".")
	x, err := strconv.Atoi(a)
	if err != nil {
		return false
	}
	y, _ := strconv.Atoi(b)
	return x > major || x == major && y >= minor
}

func isPrefix(err error, prefixes ...string) bool {
	for _, p := range prefixes {
		if err != nil && strings.HasPrefix(err.Error(), p) {
			return true
		}
	}
	return false
}
