package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/sseplane/sseplane/integration/internal/bus"
	"github.com/sseplane/sseplane/integration/internal/dock"
	"github.com/sseplane/sseplane/integration/internal/repo"
)

const patience = time.Minute

// TestBalancers holds the load balancers whose configuration is documented to what the
// documentation wants of them.
func TestBalancers(t *testing.T) {
	f := Start(t, bus.Redis, 3)
	for _, b := range []struct {
		name string
		url  string
	}{
		{"nginx with names", f.URL()},
		{"nginx with addresses", f.nginxWithAddresses(t)},
		{"HAProxy", f.haproxy(t)},
	} {
		t.Run(b.name, func(t *testing.T) { f.testBalancer(t, b.url) })
	}
}

// testBalancer: events pass at once, another replica serves when one has died, a browser
// is told to come back when there is none, and is served as soon as there is one.
func (f *Fleet) testBalancer(t *testing.T, url string) {
	t.Cleanup(func() { // for the next one
		for _, r := range f.Replicas {
			if err := r.Start(); err != nil {
				t.Error(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := f.Healthy(ctx); err != nil {
			t.Error(err)
		}
	})
	cursor := ""
	for left := len(f.Replicas); left > 0; left-- {
		s := f.open(t, url, cursor)
		post(t, f.NodeURL(s.server.Name)+"/publish/news", "one")
		s.until(t, "one")
		post(t, f.NodeURL(s.server.Name)+"/publish/news", "two")
		s.until(t, "two")
		cursor = s.id
		if err := s.server.Kill(); err != nil {
			t.Fatal(err)
		}
		s.end(t)
	}
	resp := get(t, url+"/events", cursor)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "text/event-stream" || !strings.Contains(string(body), "retry: ") {
		t.Errorf("with nobody there, a stream is answered with %s, %s, %q", resp.Status, kind, body)
	}
	if err := f.Replicas[0].Start(); err != nil {
		t.Fatal(err)
	}
	s := f.open(t, url, cursor)
	post(t, f.NodeURL(s.server.Name)+"/publish/news", "three")
	s.until(t, "three")
}

// stream is one that a replica serves.
type stream struct {
	server *dock.Container
	lines  *bufio.Scanner
	id     string
}

// open asks for a stream until a replica serves it: an answer without one says when to
// come back.
func (f *Fleet) open(t *testing.T, url, cursor string) *stream {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		resp := get(t, url+"/events?topic=news&hello=1", cursor)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("a stream is answered with %s", resp.Status)
		}
		s := &stream{lines: bufio.NewScanner(resp.Body)}
		for s.lines.Scan() {
			data, ok := strings.CutPrefix(s.lines.Text(), "data: ")
			if !ok {
				continue
			}
			var hello struct{ Node string }
			if err := json.Unmarshal([]byte(data), &hello); err != nil {
				t.Fatalf("the stream begins with %q: %v", data, err)
			}
			for _, r := range f.Replicas {
				if r.Name == hello.Node {
					s.server = r
					return s
				}
			}
			t.Fatalf("the stream is served by %q", hello.Node)
		}
		<-time.After(200 * time.Millisecond) // as it was told, more or less
	}
	t.Fatal("no replica serves a stream")
	return nil
}

func (s *stream) until(t *testing.T, data string) {
	t.Helper()
	for s.lines.Scan() {
		if id, ok := strings.CutPrefix(s.lines.Text(), "id: "); ok {
			s.id = id
		}
		if s.lines.Text() == "data: "+data {
			for s.lines.Scan() && s.lines.Text() != "" { // to the end of the event
				if id, ok := strings.CutPrefix(s.lines.Text(), "id: "); ok {
					s.id = id
				}
			}
			return
		}
		if strings.HasPrefix(s.lines.Text(), "data: ") {
			t.Fatalf("got %q, want %q", s.lines.Text(), data)
		}
	}
	t.Fatalf("the stream ended before %q: %v", data, s.lines.Err())
}

// end reads to the end: the load balancer does not leave the client with a dead replica.
func (s *stream) end(t *testing.T) {
	t.Helper()
	for s.lines.Scan() {
		if strings.HasPrefix(s.lines.Text(), "data: ") {
			t.Fatalf("got %q from a dead replica", s.lines.Text())
		}
	}
}

func get(t *testing.T, url, cursor string) *http.Response {
	t.Helper()
	return do(t, http.MethodGet, url, cursor, nil)
}

func post(t *testing.T, url, text string) {
	t.Helper()
	if resp := do(t, http.MethodPost, url, "", strings.NewReader(text)); resp.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: %s", url, resp.Status)
	}
}

func do(t *testing.T, method, url, cursor string, body io.Reader) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if cursor != "" {
		req.Header.Set("Last-Event-ID", cursor)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// nginxWithAddresses starts nginx as it is documented for replicas at fixed addresses.
func (f *Fleet) nginxWithAddresses(t *testing.T) (url string) {
	conf := replace(t, shown(t, "With replicas at fixed addresses", "nginx"),
		"listen 443 ssl;", "listen 80; location / { proxy_pass http://replicas; }",
		"10.0.0.11", f.Replicas[0].IP(f.Front), "10.0.0.12", f.Replicas[1].IP(f.Front), "10.0.0.13", f.Replicas[2].IP(f.Front))
	c := dock.Start(t, dock.Spec{
		Image: nginxImage, Name: "nginx-2", Networks: []*dock.Network{f.Front}, Ports: []int{pagePort},
		Cmd: []string{"nginx", "-g", "daemon off;"},
		Files: map[string]string{
			"/etc/nginx/sse.conf":            repo.Read(t, "deploy", "nginx", "sse.conf"),
			"/etc/nginx/conf.d/default.conf": conf,
		},
		Ready: wait.ForListeningPort("80/tcp"),
	})
	return "http://" + c.Addr(pagePort)
}

// haproxy starts HAProxy as it is documented.
func (f *Fleet) haproxy(t *testing.T) (url string) {
	conf := replace(t, shown(t, "## HAProxy", "haproxy"),
		"bind :443 ssl crt /etc/haproxy/site.pem alpn h2,http/1.1", "bind :80", "/etc/haproxy/", "/",
		"10.0.0.11", f.Replicas[0].IP(f.Front), "10.0.0.12", f.Replicas[1].IP(f.Front), "10.0.0.13", f.Replicas[2].IP(f.Front))
	answer := strings.ReplaceAll(shown(t, "`come-back.http`", ""), "\n", "\r\n")
	c := dock.Start(t, dock.Spec{
		Image: "haproxy:3.0", Name: "haproxy", Networks: []*dock.Network{f.Front}, Ports: []int{pagePort},
		Cmd:   []string{"haproxy", "-f", "/haproxy.cfg"},
		Files: map[string]string{"/haproxy.cfg": conf, "/come-back.http": answer},
		Ready: wait.ForListeningPort("80/tcp"),
	})
	return "http://" + c.Addr(pagePort)
}
