package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

// MasterName is what the Sentinels call the primary.
const MasterName = "main"

// Sentinel is a primary with two replicas, and three Sentinels that watch them.
type Sentinel struct {
	Servers   []*Server // the first was the first primary
	Sentinels []*Server

	t testing.TB
}

// StartSentinel starts servers and Sentinels and waits until all know each other.
// replicaOptions are those of the replicas.
func StartSentinel(t testing.TB, version string, replicaOptions ...Option) *Sentinel {
	t.Helper()
	s := &Sentinel{t: t}
	primary := Start(t, version)
	s.Servers = append(s.Servers, primary)
	for range 2 {
		options := append([]Option{Args("--replicaof", "127.0.0.1 "+strconv.Itoa(primary.Port))}, replicaOptions...)
		s.Servers = append(s.Servers, Start(t, version, options...))
	}
	for _, replica := range s.Servers[1:] {
		WaitReplica(t, replica)
	}
	for range 3 {
		s.Sentinels = append(s.Sentinels, startSentinel(t, version, primary))
	}
	Eventually(t, "the Sentinels know each other", func() error {
		for _, sentinel := range s.Sentinels {
			c := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Addr})
			state, err := c.Master(context.Background(), MasterName).Result()
			_ = c.Close()
			if err != nil {
				return err
			}
			if state["num-other-sentinels"] != "2" || state["num-slaves"] != "2" {
				return fmt.Errorf("%v", state)
			}
		}
		return nil
	})
	return s
}

func startSentinel(t testing.TB, version string, primary *Server) *Server {
	t.Helper()
	s := &Server{t: t, binary: Binary(t, version), dir: t.TempDir(), Port: freePort(t)}
	s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
	config := filepath.Join(s.dir, "sentinel.conf")
	text := fmt.Sprintf(`port %d
bind 127.0.0.1
dir %s
logfile %s
sentinel monitor %s 127.0.0.1 %d 2
sentinel down-after-milliseconds %[4]s 1000
sentinel failover-timeout %[4]s 4000
sentinel parallel-syncs %[4]s 2
`, s.Port, s.dir, filepath.Join(s.dir, "log"), MasterName, primary.Port)
	must(t, os.WriteFile(config, []byte(text), 0o644), "write %s", config)
	s.args = []string{config, "--sentinel"}
	t.Cleanup(s.Kill)
	s.Launch()
	return s
}

// WaitReplica waits until a replica follows its primary.
func WaitReplica(t testing.TB, replica *Server) {
	t.Helper()
	Eventually(t, "the replica follows", func() error {
		if status := replica.Info("master_link_status"); status != "up" {
			return fmt.Errorf("link %q", status)
		}
		return nil
	})
}

// Client returns a failover client. The caller closes it.
func (s *Sentinel) Client() *redis.Client {
	return redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: MasterName, SentinelAddrs: s.Addrs(), DisableIdentity: true,
	})
}

// Addrs are the addresses of the Sentinels.
func (s *Sentinel) Addrs() []string {
	var addrs []string
	for _, sentinel := range s.Sentinels {
		addrs = append(addrs, sentinel.Addr)
	}
	return addrs
}

// Primary returns the server that the Sentinels hold for the primary.
func (s *Sentinel) Primary() *Server {
	for _, sentinel := range s.Sentinels {
		c := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Addr})
		addr, err := c.GetMasterAddrByName(context.Background(), MasterName).Result()
		_ = c.Close()
		if err != nil {
			continue
		}
		for _, server := range s.Servers {
			if len(addr) == 2 && addr[1] == strconv.Itoa(server.Port) {
				return server
			}
		}
	}
	return nil
}

// WaitOtherPrimary waits until the Sentinels have made another server the primary.
func (s *Sentinel) WaitOtherPrimary(than *Server) *Server {
	s.t.Helper()
	var primary *Server
	Eventually(s.t, "another primary", func() error {
		primary = s.Primary()
		if primary == nil || primary == than || primary.Info("role") != "master" {
			return fmt.Errorf("the primary is %v", primary)
		}
		return nil
	})
	return primary
}

// Failover makes the Sentinels choose another primary while all is well.
func (s *Sentinel) Failover() {
	s.t.Helper()
	c := redis.NewSentinelClient(&redis.Options{Addr: s.Sentinels[0].Addr})
	defer c.Close()
	must(s.t, c.Failover(context.Background(), MasterName).Err(), "failover")
}
