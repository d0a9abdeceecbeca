// Package fleet starts replicas of the demo in containers, behind nginx with the
// configuration that the documentation recommends.
package fleet

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/sseplane/sseplane/integration/internal/bus"
	"github.com/sseplane/sseplane/integration/internal/dock"
	"github.com/sseplane/sseplane/integration/internal/repo"
)

const (
	nginxImage = "nginx:1.26"
	pagePort   = 80
	nodesPort  = 8081
)

// nodesConf gives each replica an address of its own, beside the configuration that is
// being tested.
const nodesConf = `server {
	listen 8081;
	location ~ ^/(?<node>[a-z]+)(?<path>/.*)$ {
		proxy_connect_timeout 2s;
		proxy_read_timeout 10s;
		proxy_pass http://$node:8080$path$is_args$args;
	}
}
`

// Fleet is replicas behind a load balancer.
type Fleet struct {
	// Front is where the replicas meet the load balancer, Back where they meet the bus.
	Front, Back *dock.Network
	Bus         *bus.Bus
	Replicas    []*dock.Container
	Balancer    *dock.Container
}

// Start starts a bus, replicas named a, b, c and so on, and the load balancer, and waits
// until all of them are ready.
func Start(t testing.TB, startBus bus.Start, replicas int, flags ...string) *Fleet {
	t.Helper()
	f := &Fleet{Front: dock.NewNetwork(t), Back: dock.NewNetwork(t)}
	f.Bus = startBus(t, f.Back)
	image := dock.Program(t, repo.Build(t, "./examples/replicas"))
	for i := range replicas {
		name := string(rune('a' + i))
		command := append([]string{"-node", name, "-listen", ":8080"}, f.Bus.Flags...)
		f.Replicas = append(f.Replicas, dock.Start(t, dock.Spec{
			Image: image, Name: name, Aliases: []string{"replica"},
			Networks: []*dock.Network{f.Front, f.Back}, Cmd: append(command, flags...),
		}))
	}
	f.Balancer = dock.Start(t, dock.Spec{
		Image: nginxImage, Name: "nginx", Networks: []*dock.Network{f.Front}, Ports: []int{pagePort, nodesPort},
		Cmd: []string{"nginx", "-g", "daemon off;"},
		Files: map[string]string{
			"/etc/nginx/sse.conf":            repo.Read(t, "deploy", "nginx", "sse.conf"),
			"/etc/nginx/conf.d/default.conf": repo.Read(t, "deploy", "nginx", "default.conf"),
			"/etc/nginx/conf.d/nodes.conf":   nodesConf,
		},
		Ready: wait.ForListeningPort("80/tcp"),
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of what nginx wrote:\n%s", f.Balancer.Tail())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := f.Healthy(ctx); err != nil {
		for _, r := range f.Replicas {
			text, _ := r.Logs()
			t.Logf("%s:\n%s", r.Name, text)
		}
		t.Fatal(err)
	}
	return f
}

// URL is the address of the load balancer.
func (f *Fleet) URL() string { return "http://" + f.Balancer.Addr(pagePort) }

// NodeURL is the address of one replica.
func (f *Fleet) NodeURL(name string) string {
	return "http://" + f.Balancer.Addr(nodesPort) + "/" + name
}

// Healthy waits until all replicas are ready and follow the bus.
func (f *Fleet) Healthy(ctx context.Context) error {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for _, r := range f.Replicas {
		for _, path := range []string{"/readyz", "/healthz"} {
			for {
				err := ok(ctx, f.NodeURL(r.Name)+path)
				if err == nil {
					break
				}
				select {
				case <-again.C:
				case <-ctx.Done():
					return fmt.Errorf("replica %s does not get ready: %w", r.Name, err)
				}
			}
		}
	}
	return nil
}

func ok(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}
