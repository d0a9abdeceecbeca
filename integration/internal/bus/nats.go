package bus

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/integration/internal/dock"
	"github.com/sseplane/sseplane/natsbus"
)

const (
	natsImage = "nats:2"
	natsPort  = 4222
)

func natsServer(t testing.TB, n *dock.Network, name string, args ...string) *dock.Container {
	return dock.Start(t, dock.Spec{
		Image: natsImage, Name: name, Networks: []*dock.Network{n}, Ports: []int{natsPort},
		Cmd:   append([]string{"-js", "-sd", "/tmp/jetstream", "--server_name", name}, args...),
		Ready: wait.ForLog("Server is ready"),
	})
}

// NATS is one server.
func NATS(t testing.TB, n *dock.Network) *Bus {
	server := natsServer(t, n, "nats")
	return natsBus(t, n, "nats", []*dock.Container{server})
}

// NATSCluster is three servers, each with the whole log.
func NATSCluster(t testing.TB, n *dock.Network) *Bus {
	names := []string{"nats-1", "nats-2", "nats-3"}
	routes := make([]string, len(names))
	for i, name := range names {
		routes[i] = "nats://" + net.JoinHostPort(name, "6222")
	}
	var servers []*dock.Container
	for _, name := range names {
		servers = append(servers, natsServer(t, n, name, "--cluster", "nats://0.0.0.0:6222", "--cluster_name", "tests",
			"--routes", strings.Join(routes, ",")))
	}
	b := natsBus(t, n, "nats-cluster", servers, natsbus.WithReplicas(3))
	b.Flags = append(b.Flags, "-stream-replicas", "3")
	next := 0
	b.Failover = func(ctx context.Context) error {
		// Which one leads is up to them; in turn it is every one.
		server := servers[next%len(servers)]
		next++
		if err := server.Kill(); err != nil {
			return err
		}
		return server.Start()
	}
	return b
}

func natsBus(t testing.TB, n *dock.Network, kind string, servers []*dock.Container, options ...natsbus.Option) *Bus {
	urls := make([]string, len(servers))
	for i, s := range servers {
		urls[i] = "nats://" + net.JoinHostPort(s.Name, "4222")
	}
	all := strings.Join(urls, ",")
	known := newAtlas(n, servers)
	connect := func() (*nats.Conn, error) {
		return nats.Connect(all, nats.SetCustomDialer(natsDialer{known}), nats.SkipHostLookup(),
			nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	}
	err := eventually(t.Context(), "JetStream is there", func(ctx context.Context) error {
		nc, err := connect()
		if err != nil {
			return err
		}
		defer nc.Close()
		if len(servers) > 1 && len(nc.DiscoveredServers()) < len(servers)-1 {
			return fmt.Errorf("servers known: %v", nc.Servers())
		}
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		_, err = js.AccountInfo(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Bus{
		Kind: kind, Servers: servers, Flags: []string{"-nats", all},
		Backplane: func(t testing.TB) backplane.Backplane {
			nc, err := connect()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			bus, err := natsbus.New(nc, options...)
			if err != nil {
				t.Fatal(err)
			}
			return bus
		},
	}
}

// natsDialer is the atlas as nats.go wants it.
type natsDialer struct{ known atlas }

func (d natsDialer) Dial(network, address string) (net.Conn, error) {
	return d.known.dial(context.Background(), network, address)
}

// SkipTLSHandshake: this dialer does nothing about TLS.
func (d natsDialer) SkipTLSHandshake() bool { return false }
