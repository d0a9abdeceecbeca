// Package compose starts docker-compose.yml as a user does.
package compose

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sseplane/sseplane/integration/internal/dock"
	"github.com/sseplane/sseplane/integration/internal/repo"
)

// patience is how long a test waits for what must come about.
const patience = time.Minute

// TestCompose: one command brings up three replicas behind the load balancer, on either
// bus; another one more of them.
func TestCompose(t *testing.T) {
	dock.Require(t, "golang:1.26", "redis:8", "nats:2", "nginx:1.26")
	build(t)
	t.Run("Redis", func(t *testing.T) { testCompose(t, "replica") })
	t.Run("NATS", func(t *testing.T) { testCompose(t, "replica-nats", "--profile", "nats") })
}

func testCompose(t *testing.T, service string, options ...string) {
	p := newProject(t, options)
	p.do("up", "-d", "--no-build")
	p.await("three replicas serve", func() error { return p.serving(3) })
	p.page()
	p.stream(service)

	p.do("up", "-d", "--no-build", "--scale", service+"=5")
	p.await("five replicas serve", func() error { return p.serving(5) })
}

// project is what one docker-compose.yml has started.
type project struct {
	t       *testing.T
	command []string
	env     []string
	base    string
}

// command is docker's own compose, or the program of that name.
func command(t *testing.T) []string {
	if exec.CommandContext(t.Context(), "docker", "compose", "version").Run() == nil {
		return []string{"docker", "compose"}
	}
	if path, err := exec.LookPath("docker-compose"); err == nil {
		return []string{path}
	}
	t.Fatal("these tests need docker compose (https://docs.docker.com/compose/install; on Debian: apt-get install docker-compose)")
	return nil
}

// build builds the image, with the classic builder too.
func build(t *testing.T) {
	start := time.Now()
	c := append(command(t), "build", "replica")
	if err := repo.Run(t.Context(), repo.Path(t), nil, c[0], c[1:]...); err != nil {
		t.Fatal(err)
	}
	t.Logf("the image was built in %v", time.Since(start).Round(time.Second))
}

func newProject(t *testing.T, options []string) *project {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	_ = ln.Close()
	p := &project{
		t: t, env: []string{"PORT=" + port}, base: "http://127.0.0.1:" + port,
		command: append(append(command(t), "-p", dock.Project()), options...),
	}
	t.Cleanup(func() {
		if t.Failed() {
			_ = p.run("logs", "--tail", "30")
		}
		if err := p.run("down", "--volumes", "--timeout", "1"); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *project) run(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	args = append(append([]string(nil), p.command[1:]...), args...)
	return repo.Run(ctx, repo.Path(p.t), p.env, p.command[0], args...)
}

func (p *project) do(args ...string) {
	p.t.Helper()
	if err := p.run(args...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) await(what string, ask func() error) {
	p.t.Helper()
	for end := time.Now().Add(patience); ; {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s: %v", what, err)
		}
		<-time.After(200 * time.Millisecond)
	}
}

func (p *project) get(path string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	p.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err == nil {
		p.t.Cleanup(func() { _ = resp.Body.Close() })
	}
	return resp, err
}

// serving asks until n replicas have answered, all of which follow the bus.
func (p *project) serving(n int) error {
	seen := map[string]bool{}
	for range 20 * n {
		resp, err := p.get("/stats")
		if err != nil {
			return err
		}
		var stats struct{ Node string }
		err = json.NewDecoder(resp.Body).Decode(&stats)
		_ = resp.Body.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", resp.Status, err)
		}
		if seen[stats.Node] = true; len(seen) == n {
			return nil
		}
	}
	return fmt.Errorf("only %d answered", len(seen))
}

// page is there, with its style and scripts.
func (p *project) page() {
	p.t.Helper()
	for path, kind := range map[string]string{"/": "text/html", "/style.css": "text/css", "/app.js": "text/javascript"} {
		resp, err := p.get(path)
		if err != nil {
			p.t.Fatal(err)
		}
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(got, kind) {
			p.t.Errorf("%s: %s, %s", path, resp.Status, got)
		}
	}
}

// stream: through the load balancer events come when they are published, not in
// heaps; what one replica publishes reaches clients of all.
func (p *project) stream(service string) {
	p.t.Helper()
	var streams []*bufio.Scanner
	for range 6 {
		resp, err := p.get("/events?topic=news&topic=ticks")
		if err != nil {
			p.t.Fatal(err)
		}
		if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" || resp.Header.Get("Sse-Session") == "" {
			p.t.Fatalf("%s on %s: no stream, but %s %s", "/events", service, resp.Status, kind)
		}
		streams = append(streams, bufio.NewScanner(resp.Body))
	}
	for i := range 5 {
		text := fmt.Sprintf("number %d", i)
		resp, err := http.Post(p.base+"/publish/news", "text/plain", strings.NewReader(text)) //nolint:noctx // the project has a limit
		if err != nil {
			p.t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			p.t.Fatalf("publishing: %s %s", resp.Status, body)
		}
		for _, s := range streams {
			until(p.t, s, text)
		}
	}
	for _, s := range streams {
		until(p.t, s, `"publisher"`) // the replicas' own numbered events
	}
}

func until(t *testing.T, lines *bufio.Scanner, text string) {
	t.Helper()
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return
		}
	}
	t.Fatalf("the stream ended before %q: %v", text, lines.Err())
}
