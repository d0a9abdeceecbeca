package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/integration/internal/dock"
	"github.com/sseplane/sseplane/redisbus"
)

const (
	redisImage   = "redis:8"
	redisPort    = 6379
	sentinelPort = 26379
	masterName   = "main"
)

// redisServer starts a server that has written down what it has acknowledged, so that
// killing it loses nothing.
func redisServer(t testing.TB, n *dock.Network, name string, args ...string) *dock.Container {
	return dock.Start(t, dock.Spec{
		Image: redisImage, Name: name, Networks: []*dock.Network{n}, Ports: []int{redisPort},
		Cmd: append([]string{"redis-server", "--protected-mode", "no", "--maxmemory-policy", "noeviction",
			"--save", "", "--appendonly", "yes", "--appendfsync", "always"}, args...),
		Ready: wait.ForLog("Ready to accept connections"),
	})
}

// backplaneOf makes buses of clients of their own.
func backplaneOf(client func() redis.UniversalClient) func(testing.TB) backplane.Backplane {
	return func(t testing.TB) backplane.Backplane {
		c := client()
		t.Cleanup(func() { _ = c.Close() })
		bus, err := redisbus.New(c)
		if err != nil {
			t.Fatal(err)
		}
		return bus
	}
}

// Redis is one server.
func Redis(t testing.TB, n *dock.Network) *Bus {
	server := redisServer(t, n, "redis")
	return &Bus{
		Kind: "redis", Servers: []*dock.Container{server},
		Flags: []string{"-redis", "redis://redis:6379"},
		Backplane: backplaneOf(func() redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: server.Addr(redisPort)})
		}),
	}
}

// RedisCluster is three primaries.
func RedisCluster(t testing.TB, n *dock.Network) *Bus {
	var servers []*dock.Container
	var addrs []string
	for i := range 3 {
		s := redisServer(t, n, fmt.Sprintf("redis-%d", i+1), "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
		servers = append(servers, s)
		addrs = append(addrs, net.JoinHostPort(s.IP(n), "6379"))
	}
	if _, err := servers[0].Exec(append([]string{"redis-cli", "--cluster", "create", "--cluster-yes"}, addrs...)...); err != nil {
		t.Fatal(err)
	}
	known := newAtlas(n, servers)
	client := func() redis.UniversalClient {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, Dialer: known.dial})
	}
	asked := client().(*redis.ClusterClient)
	defer asked.Close()
	err := eventually(t.Context(), "the cluster forms", func(ctx context.Context) error {
		return asked.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			info, err := c.ClusterInfo(ctx).Result()
			if err == nil && !strings.Contains(info, "cluster_state:ok") {
				err = fmt.Errorf("%s", info)
			}
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	seeds := url.Values{"addr": {"redis-2:6379", "redis-3:6379"}}
	return &Bus{
		Kind: "redis-cluster", Servers: servers, Backplane: backplaneOf(client),
		Flags: []string{"-redis", "redis://redis-1:6379?" + seeds.Encode()},
	}
}

// RedisSentinel is a primary with two replicas, and three Sentinels.
func RedisSentinel(t testing.TB, n *dock.Network) *Bus {
	primary := redisServer(t, n, "redis-1")
	servers := []*dock.Container{primary}
	for _, name := range []string{"redis-2", "redis-3"} {
		servers = append(servers, redisServer(t, n, name, "--replicaof", primary.IP(n)+" 6379"))
	}
	config := fmt.Sprintf(`port %d
dir /data
sentinel monitor %s %s %d 2
sentinel down-after-milliseconds %[2]s 1000
sentinel failover-timeout %[2]s 5000
sentinel parallel-syncs %[2]s 2
`, sentinelPort, masterName, primary.IP(n), redisPort)
	var sentinels []*dock.Container
	var addrs []string
	for i := range 3 {
		s := dock.Start(t, dock.Spec{
			Image: redisImage, Name: fmt.Sprintf("sentinel-%d", i+1), Networks: []*dock.Network{n}, Ports: []int{sentinelPort},
			Files: map[string]string{"/data/sentinel.conf": config},
			Cmd:   []string{"redis-server", "/data/sentinel.conf", "--sentinel"},
			Ready: wait.ForLog("+monitor master"),
		})
		sentinels = append(sentinels, s)
		addrs = append(addrs, net.JoinHostPort(s.Name, "26379"))
	}
	known := newAtlas(n, append(append([]*dock.Container(nil), servers...), sentinels...))
	b := &Bus{
		Kind: "redis-sentinel", Servers: servers, Forgets: true,
		Flags: []string{"-redis", "redis://" + addrs[0] + "?" + url.Values{"master_name": {masterName}, "addr": addrs[1:]}.Encode()},
		Backplane: backplaneOf(func() redis.UniversalClient {
			return redis.NewFailoverClient(&redis.FailoverOptions{MasterName: masterName, SentinelAddrs: addrs, Dialer: known.dial})
		}),
	}
	s := &sentinel{bus: b, network: n, known: known, addrs: addrs}
	if err := eventually(t.Context(), "the Sentinels know each other", s.complete); err != nil {
		t.Fatal(err)
	}
	b.Failover = s.failover
	return b
}

// sentinel asks the Sentinels.
type sentinel struct {
	bus     *Bus
	network *dock.Network
	known   atlas
	addrs   []string
}

func (s *sentinel) client(addr string) *redis.SentinelClient {
	return redis.NewSentinelClient(&redis.Options{Addr: addr, Dialer: s.known.dial})
}

// complete: all of them see all servers and each other.
func (s *sentinel) complete(ctx context.Context) error {
	for _, addr := range s.addrs {
		c := s.client(addr)
		state, err := c.Master(ctx, masterName).Result()
		_ = c.Close()
		if err != nil {
			return err
		}
		if state["num-other-sentinels"] != "2" || state["num-slaves"] != "2" || state["flags"] != "master" {
			return fmt.Errorf("%s sees %v", addr, state)
		}
	}
	return nil
}

// primary is the server that they hold for the primary.
func (s *sentinel) primary(ctx context.Context) (*dock.Container, error) {
	c := s.client(s.addrs[0])
	defer c.Close()
	addr, err := c.GetMasterAddrByName(ctx, masterName).Result()
	if err != nil {
		return nil, err
	}
	for _, server := range s.bus.Servers {
		if server.IP(s.network) == addr[0] {
			return server, nil
		}
	}
	return nil, fmt.Errorf("the primary is %v, which is none of the servers", addr)
}

// failover kills the primary, waits for another one, and brings the old one back.
func (s *sentinel) failover(ctx context.Context) error {
	var old *dock.Container
	err := eventually(ctx, "there is a primary", func(ctx context.Context) (err error) {
		old, err = s.primary(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if err := old.Kill(); err != nil {
		return err
	}
	moved := eventually(ctx, "another server becomes the primary", func(ctx context.Context) error {
		now, err := s.primary(ctx)
		if err == nil && now == old {
			err = fmt.Errorf("it is still %s", old.Name)
		}
		return err
	})
	if err := old.Start(); err != nil {
		return err
	}
	if moved != nil {
		return moved
	}
	// Until then it may still take writes, which are lost.
	return eventually(ctx, "the old primary is a replica", func(ctx context.Context) error {
		return errors.Join(s.replicates(ctx, old), s.complete(ctx))
	})
}

// replicates returns an error unless the server is a replica that is in touch with its primary.
func (s *sentinel) replicates(ctx context.Context, server *dock.Container) error {
	c := redis.NewClient(&redis.Options{Addr: net.JoinHostPort(server.IP(s.network), strconv.Itoa(redisPort)), Dialer: s.known.dial})
	defer c.Close()
	info, err := c.Info(ctx, "replication").Result()
	if err == nil && (!strings.Contains(info, "role:slave") || !strings.Contains(info, "master_link_status:up")) {
		err = fmt.Errorf("%s says %q", server.Name, info)
	}
	return err
}
