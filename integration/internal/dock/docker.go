// Package dock starts containers for tests and does to them what the world does to
// servers: kills, pauses and cuts them off. Everything it makes carries a label and is
// removed when the test ends, or, where that was cut short, before the next run.
package dock

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

// engineTime bounds one request to the engine.
const engineTime = 2 * time.Minute

// Engine is the connection to docker.
type Engine struct{ *testcontainers.DockerClient }

var connect = sync.OnceValues(func() (*Engine, error) {
	// Ports are published on the loopback interface, and it is us who clean up: the
	// reaper of testcontainers would be one more image to have.
	for name, value := range map[string]string{
		"TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1",
		"TESTCONTAINERS_RYUK_DISABLED": "true",
	} {
		if os.Getenv(name) == "" {
			if err := os.Setenv(name, value); err != nil {
				return nil, err
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), engineTime)
	defer cancel()
	c, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := c.Ping(ctx, client.PingOptions{}); err != nil {
		return nil, err
	}
	e := &Engine{c}
	return e, e.sweep(ctx)
})

// Require returns the engine. Without docker or one of the images the test fails, and
// says what to do.
func Require(t testing.TB, images ...string) *Engine {
	t.Helper()
	e, err := connect()
	if err != nil {
		t.Fatalf("these tests need docker (https://docs.docker.com/engine/install; on Debian: apt-get install docker.io): %v", err)
	}
	for _, image := range images {
		ctx, cancel := context.WithTimeout(t.Context(), engineTime)
		defer cancel()
		if _, err := e.ImageInspect(ctx, image); err != nil {
			t.Fatalf("there is no image %s; scripts/images gets it, as integration/run does: %v", image, err)
		}
	}
	return e
}
