package dock

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
)

// Network is a network of its own for some containers. Each has the same address on
// it for as long as it lives: after a cut its old connections are still there, as
// in the world, and half open.
type Network struct {
	*testcontainers.DockerNetwork

	mu     sync.Mutex // guards the rest
	subnet netip.Prefix
	last   byte
}

// NewNetwork makes a network that lives as long as the test.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	Require(t)
	ctx, cancel := context.WithTimeout(t.Context(), engineTime)
	defer cancel()
	for try := 0; ; try++ {
		n := &Network{subnet: randomSubnet(), last: 9}
		made, err := tcnetwork.New(ctx, tcnetwork.WithLabels(labels()), tcnetwork.WithIPAM(&network.IPAM{
			Driver: "default", Config: []network.IPAMConfig{{Subnet: n.subnet}},
		}))
		if err == nil {
			n.DockerNetwork = made
			t.Cleanup(func() {
				if err := made.Remove(context.Background()); err != nil {
					t.Errorf("removing a network: %v", err)
				}
			})
			return n
		}
		if try == 20 || !strings.Contains(err.Error(), "overlap") {
			t.Fatalf("making a network: %v", err)
		}
	}
}

func randomSubnet() netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.0/24", 200+rand.N(50), rand.N(256)))
}

// next returns an address that no container has.
func (n *Network) next() netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	bytes := n.subnet.Addr().As4()
	bytes[3] = n.last
	return netip.AddrFrom4(bytes)
}
