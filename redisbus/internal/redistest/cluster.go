package redistest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// slots of a Cluster.
const slots = 16384

// Cluster is three primaries, and a replica of each.
type Cluster struct {
	Primaries, Replicas []*Server

	t testing.TB
}

// StartCluster starts a Cluster and waits until it works.
func StartCluster(t testing.TB, version string, options ...Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for i := range 6 {
		// The bus port would be the port + 10000, which may be beyond what there is.
		s := Start(t, version, append([]Option{Args(
			"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", strconv.Itoa(freePort(t)),
			"--cluster-config-file", "nodes.conf", "--cluster-replica-validity-factor", "0",
		)}, options...)...)
		if i < 3 {
			s.Do("cluster", "addslotsrange", i*slots/3, (i+1)*slots/3-1)
			s.Do("cluster", "set-config-epoch", i+1)
			c.Primaries = append(c.Primaries, s)
		} else {
			c.Replicas = append(c.Replicas, s)
		}
	}
	for _, s := range c.all()[1:] {
		s.Do("cluster", "meet", "127.0.0.1", c.Primaries[0].Port, c.Primaries[0].busPort())
	}
	for i, s := range c.Replicas {
		id := c.Primaries[i].Do("cluster", "myid").(string)
		Eventually(t, "the replica knows its primary", func() error {
			client := s.Client()
			defer client.Close()
			return client.ClusterReplicate(context.Background(), id).Err()
		})
	}
	c.WaitHealthy()
	return c
}

func (s *Server) busPort() int {
	for i, a := range s.args {
		if a == "--cluster-port" {
			port, _ := strconv.Atoi(s.args[i+1])
			return port
		}
	}
	return s.Port + 10000
}

func (c *Cluster) all() []*Server {
	return append(append([]*Server(nil), c.Primaries...), c.Replicas...)
}

// WaitHealthy waits until all servers agree that all is well.
func (c *Cluster) WaitHealthy() {
	c.t.Helper()
	Eventually(c.t, "the cluster is healthy", func() error {
		for _, s := range c.all() {
			info := s.Do("cluster", "info").(string)
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:6") {
				return fmt.Errorf("%s: %s", s.Addr, info)
			}
			nodes := s.Do("cluster", "nodes").(string)
			if n := strings.Count(nodes, "slave"); n != 3 || strings.Contains(nodes, "fail") || strings.Contains(nodes, "handshake") {
				return fmt.Errorf("%s: %s", s.Addr, nodes)
			}
			if s.Info("role") == "slave" && s.Info("master_link_status") != "up" {
				return fmt.Errorf("%s: no link to its primary", s.Addr)
			}
		}
		return nil
	})
}

// Client returns a client of the Cluster. The caller closes it.
func (c *Cluster) Client() *redis.ClusterClient {
	return redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), DisableIdentity: true})
}

// Addrs are the addresses of all servers.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, s := range c.all() {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

// Owner returns the server that now owns the slot of a key, and another primary.
func (c *Cluster) Owner(key string) (owner, other *Server) {
	c.t.Helper()
	client := c.Client()
	defer client.Close()
	node, err := client.MasterForKey(context.Background(), key)
	must(c.t, err, "owner of %q", key)
	for _, s := range c.all() {
		switch {
		case s.Addr == node.Options().Addr:
			owner = s
		case s.Info("role") == "master":
			other = s
		}
	}
	return owner, other
}

// Slot returns the slot of a key.
func (c *Cluster) Slot(key string) int64 {
	return c.Primaries[0].Do("cluster", "keyslot", key).(int64)
}

// ReplicaOf returns a replica of a primary.
func (c *Cluster) ReplicaOf(primary *Server) *Server {
	for _, s := range c.all() {
		if s.Info("role") == "slave" && net.JoinHostPort(s.Info("master_host"), s.Info("master_port")) == primary.Addr {
			return s
		}
	}
	c.t.Fatalf("%s has no replica", primary.Addr)
	return nil
}

// MoveSlot moves a slot, key by key, from its owner to another primary.
func (c *Cluster) MoveSlot(slot int64, from, to *Server) {
	c.t.Helper()
	fromID, toID := from.Do("cluster", "myid"), to.Do("cluster", "myid")
	to.Do("cluster", "setslot", slot, "importing", fromID)
	from.Do("cluster", "setslot", slot, "migrating", toID)
	for {
		keys := from.Do("cluster", "getkeysinslot", slot, 1).([]any)
		if len(keys) == 0 {
			break
		}
		from.Do("migrate", "127.0.0.1", to.Port, keys[0], 0, 5000)
	}
	for _, s := range append([]*Server{to, from}, c.all()...) {
		if s.Info("role") == "master" {
			s.Do("cluster", "setslot", slot, "node", toID)
		}
	}
}
