package dock

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

// Spec says what to start.
type Spec struct {
	Image string
	Cmd   []string
	// Name is the host name on all networks, Aliases are more of them.
	Name    string
	Aliases []string
	// Networks: the first is that of the published ports.
	Networks []*Network
	// Ports to publish on the loopback interface, each at a port that stays.
	Ports []int
	// Files by their paths.
	Files map[string]string
	// Ready says when it has started; nil does not wait.
	Ready wait.Strategy
}

// Container is one that runs, or ran.
type Container struct {
	Spec
	engine    *Engine
	container testcontainers.Container
	addrs     map[*Network]netip.Addr
	ports     map[int]int
}

// Start starts a container that lives as long as the test.
func Start(t testing.TB, spec Spec) *Container {
	t.Helper()
	c := &Container{Spec: spec, engine: Require(t, spec.Image), addrs: map[*Network]netip.Addr{}, ports: map[int]int{}}
	for _, n := range spec.Networks {
		c.addrs[n] = n.next()
	}
	options := []testcontainers.ContainerCustomizer{
		testcontainers.WithCmd(spec.Cmd...),
		testcontainers.WithLabels(labels()),
		testcontainers.WithConfigModifier(func(config *container.Config) { config.Hostname = spec.Name }),
		testcontainers.WithHostConfigModifier(c.publish(t)),
		// The first network when it is made, as the engine wants it, the others then.
		testcontainers.WithEndpointSettingsModifier(func(all map[string]*network.EndpointSettings) {
			all[spec.Networks[0].Name] = c.endpoint(spec.Networks[0])
		}),
		testcontainers.WithAdditionalLifecycleHooks(testcontainers.ContainerLifecycleHooks{
			PostCreates: []testcontainers.ContainerHook{func(ctx context.Context, made testcontainers.Container) error {
				for _, n := range spec.Networks[1:] {
					if err := c.connect(ctx, made.GetContainerID(), n); err != nil {
						return err
					}
				}
				return nil
			}},
		}),
	}
	for path, text := range spec.Files {
		options = append(options, testcontainers.WithFiles(testcontainers.ContainerFile{
			Reader: bytes.NewReader([]byte(text)), ContainerFilePath: path, FileMode: 0o644,
		}))
	}
	for _, port := range spec.Ports {
		options = append(options, testcontainers.WithExposedPorts(strconv.Itoa(port)+"/tcp"))
	}
	if spec.Ready != nil {
		options = append(options, testcontainers.WithWaitStrategyAndDeadline(time.Minute, spec.Ready))
	}
	options = append(options, testcontainers.CustomizeRequestOption(func(r *testcontainers.GenericContainerRequest) error {
		r.Networks = []string{spec.Networks[0].Name}
		return nil
	}))
	ctx, cancel := context.WithTimeout(t.Context(), engineTime)
	defer cancel()
	started, err := testcontainers.Run(ctx, spec.Image, options...)
	testcontainers.CleanupContainer(t, started, testcontainers.StopTimeout(0))
	if err != nil {
		written := ""
		if started != nil {
			written = tail(started)
		}
		t.Fatalf("starting %s: %v\n%s", spec.Name, err, written)
	}
	c.container = started
	return c
}

// publish binds each port to one of the loopback interface that stays the same when the
// container is started again.
func (c *Container) publish(t testing.TB) func(*container.HostConfig) {
	bindings := network.PortMap{}
	for _, port := range c.Ports {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.ports[port] = ln.Addr().(*net.TCPAddr).Port
		_ = ln.Close()
		bindings[network.MustParsePort(strconv.Itoa(port)+"/tcp")] = []network.PortBinding{{
			HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(c.ports[port]),
		}}
	}
	return func(h *container.HostConfig) { h.PortBindings = bindings }
}

func (c *Container) endpoint(n *Network) *network.EndpointSettings {
	return &network.EndpointSettings{
		Aliases:    append([]string{c.Name}, c.Aliases...),
		IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: c.addrs[n]},
	}
}

// Addr returns the address of a published port.
func (c *Container) Addr(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.ports[port]))
}

// IP returns the address on a network.
func (c *Container) IP(n *Network) string { return c.addrs[n].String() }

func (c *Container) id() string { return c.container.GetContainerID() }

// do carries out one request to the engine, and says what it was about if it fails.
func (c *Container) do(what string, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), engineTime)
	defer cancel()
	if err := f(ctx); err != nil {
		return fmt.Errorf("%s %s: %w", what, c.Name, err)
	}
	return nil
}

// Kill ends it as kill -9 does.
func (c *Container) Kill() error {
	return c.do("killing", func(ctx context.Context) error {
		_, err := c.engine.ContainerKill(ctx, c.id(), client.ContainerKillOptions{Signal: "KILL"})
		return err
	})
}

// Stop asks it to end, and kills it after the time given.
func (c *Container) Stop(within time.Duration) error {
	return c.do("stopping", func(ctx context.Context) error {
		seconds := int(within.Seconds())
		_, err := c.engine.ContainerStop(ctx, c.id(), client.ContainerStopOptions{Timeout: &seconds})
		return err
	})
}

// Start starts it again.
func (c *Container) Start() error {
	return c.do("starting", func(ctx context.Context) error {
		_, err := c.engine.ContainerStart(ctx, c.id(), client.ContainerStartOptions{})
		return err
	})
}

// Pause freezes it: its kernel still answers, its program does not.
func (c *Container) Pause() error {
	return c.do("pausing", func(ctx context.Context) error {
		_, err := c.engine.ContainerPause(ctx, c.id(), client.ContainerPauseOptions{})
		return err
	})
}

// Unpause lets it go on.
func (c *Container) Unpause() error {
	return c.do("unpausing", func(ctx context.Context) error {
		_, err := c.engine.ContainerUnpause(ctx, c.id(), client.ContainerUnpauseOptions{})
		return err
	})
}

// Cut takes it off a network. Nobody is told: no connection is closed.
func (c *Container) Cut(n *Network) error {
	return c.do("cutting off", func(ctx context.Context) error {
		_, err := c.engine.NetworkDisconnect(ctx, n.ID, client.NetworkDisconnectOptions{Container: c.id()})
		return err
	})
}

// Heal brings it back to a network, at its old address.
func (c *Container) Heal(n *Network) error {
	return c.do("healing", func(ctx context.Context) error { return c.connect(ctx, c.id(), n) })
}

func (c *Container) connect(ctx context.Context, id string, n *Network) error {
	_, err := c.engine.NetworkConnect(ctx, n.ID, client.NetworkConnectOptions{Container: id, EndpointConfig: c.endpoint(n)})
	return err
}

// Exec runs a command in it and returns what it printed.
func (c *Container) Exec(command ...string) (out string, err error) {
	err = c.do("running a command in", func(ctx context.Context) error {
		code, reader, err := c.container.Exec(ctx, command)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if _, err := stdcopy.StdCopy(&text, &text, reader); err != nil {
			return err
		}
		if out = text.String(); code != 0 {
			return fmt.Errorf("%q ended with %d: %s", command, code, out)
		}
		return nil
	})
	return out, err
}

// Logs returns all it has written, also before it was started again.
func (c *Container) Logs() (string, error) { return logs(c.container) }

func logs(c testcontainers.Container) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), engineTime)
	defer cancel()
	reader, err := c.Logs(ctx)
	if err != nil {
		return "", err
	}
	defer reader.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(reader)
	return text.String(), err
}

// Tail returns the end of what it has written, for a message.
func (c *Container) Tail() string { return tail(c.container) }

// tail returns the end of what a container has written, for a message.
func tail(c testcontainers.Container) string {
	text, err := logs(c)
	if err != nil {
		return err.Error()
	}
	return text[max(0, len(text)-2000):]
}
