// Package bus starts each kind of deployment of the buses in containers.
package bus

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/integration/internal/dock"
)

// Bus is a deployment that runs.
type Bus struct {
	// Kind names the deployment.
	Kind string
	// Servers hold the log.
	Servers []*dock.Container
	// Flags connect a replica of the demo that is on the bus's network.
	Flags []string
	// Backplane connects this process.
	Backplane func(t testing.TB) backplane.Backplane
	// Failover makes another server the one that decides; nil where there is one alone.
	// It returns when the old one is back.
	Failover func(ctx context.Context) error
	// Forgets: a failover can lose what had been accepted, as the documentation says.
	Forgets bool
}

// Start starts a deployment.
type Start func(t testing.TB, n *dock.Network) *Bus

// readyTime is how long a deployment may take to find itself.
const readyTime = time.Minute

// eventually asks until there is no error, at most for readyTime.
func eventually(ctx context.Context, what string, ask func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		err := askOnce(ctx, ask)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// askOnce bounds one try: a server that is not ready may not answer at all.
func askOnce(ctx context.Context, ask func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return ask(ctx)
}

// atlas says where this process finds the servers, which know each other and
// themselves by addresses that only containers can reach.
type atlas map[string]string

func newAtlas(n *dock.Network, servers []*dock.Container) atlas {
	a := atlas{}
	for _, s := range servers {
		for _, port := range s.Ports {
			p := strconv.Itoa(port)
			a[net.JoinHostPort(s.IP(n), p)] = s.Addr(port)
			a[net.JoinHostPort(s.Name, p)] = s.Addr(port)
		}
	}
	return a
}

func (a atlas) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if known := a[address]; known != "" {
		address = known
	}
	d := net.Dialer{Timeout: 2 * time.Second}
	return d.DialContext(ctx, network, address)
}
