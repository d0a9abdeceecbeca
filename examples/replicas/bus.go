package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/redisbus"
)

// busConfig says on which bus the replicas meet: Redis, NATS, or, with neither,
// the memory of this process.
type busConfig struct {
	redis    string
	nats     string
	replicas int
}

func (c *busConfig) register(f *flag.FlagSet) {
	f.StringVar(&c.redis, "redis", "", "meet on Redis at this `URL`; with ?addr=HOST:PORT it is a Cluster, with ?master_name=NAME behind Sentinel")
	f.StringVar(&c.nats, "nats", "", "meet on NATS JetStream at these `URLs`, separated by commas")
	f.IntVar(&c.replicas, "stream-replicas", 1, "how many servers of a NATS cluster keep the log")
}

func (c *busConfig) check() error {
	switch {
	case c.redis != "" && c.nats != "":
		return errors.New("-redis and -nats exclude each other")
	case c.replicas < 1:
		return fmt.Errorf("invalid value %d for flag -stream-replicas: less than 1", c.replicas)
	}
	return nil
}

// open returns the bus, and what releases it.
func (c *busConfig) open(logger *slog.Logger) (backplane.Backplane, func(), error) {
	switch {
	case c.redis != "":
		return openRedis(c.redis, logger)
	case c.nats != "":
		return c.openNATS()
	}
	return backplane.NewMemory(), func() {}, nil
}

func openRedis(address string, logger *slog.Logger) (backplane.Backplane, func(), error) {
	client, err := redisClient(address)
	if err != nil {
		return nil, nil, fmt.Errorf("-redis: %w", err)
	}
	bus, err := redisbus.New(client, redisbus.WithLogger(logger))
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return bus, func() { _ = client.Close() }, nil
}

// redisClient makes the client that the URL asks for, in go-redis's own URL forms.
func redisClient(address string) (redis.UniversalClient, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	// Only Redis Enterprise sends these, and go-redis logs that others do not.
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch query := u.Query(); {
	case query.Has("master_name"):
		options, err := redis.ParseFailoverURL(address)
		if err != nil {
			return nil, err
		}
		return redis.NewFailoverClient(options), nil
	case query.Has("addr"):
		options, err := redis.ParseClusterURL(address)
		if err != nil {
			return nil, err
		}
		options.MaintNotificationsConfig = quiet
		return redis.NewClusterClient(options), nil
	}
	options, err := redis.ParseURL(address)
	if err != nil {
		return nil, err
	}
	options.MaintNotificationsConfig = quiet
	return redis.NewClient(options), nil
}

func (c *busConfig) openNATS() (backplane.Backplane, func(), error) {
	nc, err := nats.Connect(c.nats, nats.Name("replicas"), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	if err != nil {
		return nil, nil, fmt.Errorf("-nats: %w", err)
	}
	bus, err := natsbus.New(nc, natsbus.WithReplicas(c.replicas))
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return bus, nc.Close, nil
}
