package broker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

func byPath(r *http.Request) (broker.Client, error) {
	return broker.Client{ID: strings.TrimPrefix(r.URL.Path, "/")}, nil
}

// feed is an open stream over a socket.
type feed struct {
	t    *testing.T
	resp *http.Response
	dec  *sse.Decoder
}

// open gets a stream from a server, whose headers must come without an event.
func open(t *testing.T, client *http.Client, url, last string) *feed {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := client.Do(req)
	must(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &feed{t: t, resp: resp, dec: sse.NewDecoder(resp.Body)}
}

func (f *feed) wants(data ...string) {
	f.t.Helper()
	for _, want := range data {
		m, err := f.dec.Next()
		must(f.t, err)
		if m.Data != want {
			f.t.Fatalf("received %q, want %q", m.Data, want)
		}
	}
}

// ends fails the test unless the stream ends without a further event.
func (f *feed) ends() {
	f.t.Helper()
	if m, err := f.dec.Next(); !errors.Is(err, io.EOF) {
		f.t.Fatalf("received %+v, %v", m, err)
	}
}

func protocols(t *testing.T, f func(t *testing.T, server func(http.Handler) *httptest.Server)) {
	for name, start := range map[string]func(*httptest.Server){
		"HTTP/1.1":         func(s *httptest.Server) { s.Start() },
		"HTTP/1.1 and TLS": func(s *httptest.Server) { s.StartTLS() },
		"HTTP/2":           func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() },
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			f(t, func(h http.Handler) *httptest.Server {
				s := httptest.NewUnstartedServer(h)
				start(s)
				t.Cleanup(s.Close)
				return s
			})
		})
	}
}

func TestServer(t *testing.T) {
	protocols(t, func(t *testing.T, serverOf func(http.Handler) *httptest.Server) {
		nodes, _ := cluster(t, 2)
		gone := make(chan string, 10)
		nodes[0].SetDisconnectCallback(func(client, _ string) { gone <- client })
		a, b := serverOf(nodes[0].Handler(byPath)), serverOf(nodes[1].Handler(byPath))
		f := open(t, a.Client(), a.URL+"/joe", "")
		if f.resp.StatusCode != http.StatusOK || f.resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("answered %v", f.resp)
		}
		if !nodes[1].IsClientPresent("joe") {
			t.Error("is not present")
		}
		must(t, nodes[1].Send("joe", text("1")))
		large := strings.Repeat("large ", 50_000)
		must(t, nodes[1].Broadcast(text(large)))
		f.wants("1", large)
		_ = f.resp.Body.Close()
		if client := <-gone; client != "joe" {
			t.Errorf("%q is gone", client)
		}
		must(t, nodes[0].Broadcast(text("3")))
		f = open(t, b.Client(), b.URL+"/joe", f.dec.LastEventID())
		f.wants("3")
		must(t, nodes[1].Disconnect(t.Context(), "joe", ""))
		f.ends()
	})
}

func TestServerRefuses(t *testing.T) {
	protocols(t, func(t *testing.T, serverOf func(http.Handler) *httptest.Server) {
		b := start(t, broker.WithMaxConnectionsPerClient(1))
		s := serverOf(b.Handler(func(r *http.Request) (broker.Client, error) {
			c, _ := byPath(r)
			if c.ID == "stranger" {
				return c, errors.New("who are you")
			}
			return c, nil
		}))
		open(t, s.Client(), s.URL+"/joe", "")
		second := open(t, s.Client(), s.URL+"/joe", "")
		second.ends()
		if retry, ok := second.dec.Retry(); second.resp.StatusCode != http.StatusOK || !ok || retry < time.Second {
			t.Errorf("answered %v, retry %v", second.resp, retry)
		}
		for path, status := range map[string]int{"/stranger": 401, "/": 400} {
			if f := open(t, s.Client(), s.URL+path, ""); f.resp.StatusCode != status {
				t.Errorf("%s: status %d", path, f.resp.StatusCode)
			}
		}
		for range 3 { // HEAD, on a connection that is used again
			resp, err := s.Client().Head(s.URL + "/ann")
			must(t, err)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
				t.Errorf("HEAD: %v", resp)
			}
		}
		must(t, b.Broadcast(text("x")))
	})
}

// The broker's drain is the server's: streams end, and Server.Shutdown returns.
func TestRegisterOnShutdown(t *testing.T) {
	protocols(t, func(t *testing.T, serverOf func(http.Handler) *httptest.Server) {
		b := start(t)
		s := serverOf(b.Handler(byPath))
		drained := make(chan error, 1)
		s.Config.RegisterOnShutdown(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			drained <- b.Shutdown(ctx)
		})
		var feeds []*feed
		for i := range 10 {
			feeds = append(feeds, open(t, s.Client(), s.URL+fmt.Sprint("/client ", i)[:8]+fmt.Sprint(i), ""))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		must(t, s.Config.Shutdown(ctx))
		must(t, <-drained)
		for _, f := range feeds {
			f.ends()
			if retry, ok := f.dec.Retry(); !ok || retry < time.Second {
				t.Errorf("retry %v", retry)
			}
		}
	})
}

// pipe is a listener whose connections are pipes, which work in a bubble.
type pipe struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipe() *pipe { return &pipe{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipe) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipe) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// pipeServer serves in a bubble, over HTTP/1.1 or HTTP/2, without TLS.
func pipeServer(t *testing.T, h http.Handler, two bool, change ...func(*http.Server)) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!two)
	protocols.SetUnencryptedHTTP2(two)
	p := newPipe()
	server := &http.Server{Handler: h, Protocols: protocols}
	for _, f := range change {
		f(server)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(p)
	}()
	transport := &http.Transport{DialContext: p.dial, Protocols: protocols}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-served
		synctest.Wait()
	})
	return &http.Client{Transport: transport}
}

// quiet opens a stream that gets an event every 10 seconds, five of them.
func quiet(t *testing.T, b *broker.Broker, client *http.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://pipe/joe", nil)
	must(t, err)
	resp, err := client.Do(req)
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	if major := resp.ProtoMajor; major != 1 && major != 2 {
		t.Errorf("protocol %s", resp.Proto)
	}
	var got []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for dec := sse.NewDecoder(resp.Body); ; {
			m, err := dec.Next()
			if err != nil {
				return
			}
			got = append(got, m.Data)
		}
	}()
	for i := range 5 {
		time.Sleep(10 * time.Second)
		must(t, b.Broadcast(text(fmt.Sprint(i))))
		synctest.Wait()
	}
	select {
	case <-done:
		t.Error("the stream was cut")
	default:
	}
	cancel()
	<-done
	if strings.Join(got, " ") != "0 1 2 3 4" {
		t.Errorf("received %q", got)
	}
}

func pipes(t *testing.T, f func(t *testing.T, two bool)) {
	for _, two := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[two], func(t *testing.T) {
			bubble(t, func(t *testing.T) { f(t, two) })
		})
	}
}

// A quiet stream outlives the write deadline: that is for writes, and none is under way.
func TestQuietStreamOutlivesTheWriteDeadline(t *testing.T) {
	pipes(t, func(t *testing.T, two bool) {
		b := start(t, broker.WithWriteDeadline(2*time.Second), broker.WithHeartbeat(time.Minute))
		quiet(t, b, pipeServer(t, b.Handler(byPath), two))
	})
}

// The timeouts of the server do not cut streams.
func TestServerTimeoutsDoNotCutStreams(t *testing.T) {
	pipes(t, func(t *testing.T, two bool) {
		b := start(t)
		quiet(t, b, pipeServer(t, b.Handler(byPath), two, func(s *http.Server) {
			s.WriteTimeout, s.ReadTimeout, s.IdleTimeout = 3*time.Second, 3*time.Second, 3*time.Second
		}))
	})
}

// A reader that stops reading is closed by the write deadline, over HTTP too.
func TestStalledSocket(t *testing.T) {
	pipes(t, func(t *testing.T, two bool) {
		b := start(t, broker.WithWriteDeadline(5*time.Second))
		ended := make(chan error, 1)
		client := pipeServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ended <- b.Serve(w, r, broker.Client{ID: "joe"})
		}), two)
		resp, err := client.Get("http://pipe/")
		must(t, err)
		synctest.Wait()
		begun := time.Now()
		for range 1000 {
			must(t, b.Broadcast(text(strings.Repeat("x", 10_000))))
		}
		mustBe(t, <-ended, broker.ErrSlowSession)
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("took %v", took)
		}
		_ = resp.Body.Close()
	})
}

// A connection that a stream was served on serves the next request too, much later.
func TestConnectionIsUsedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithWriteDeadline(5*time.Second))
		client := pipeServer(t, b.Handler(byPath), false)
		for range 3 {
			resp, err := client.Get("http://pipe/joe")
			must(t, err)
			must(t, b.Disconnect(t.Context(), "joe", ""))
			if _, err := io.ReadAll(resp.Body); err != nil {
				t.Error(err)
			}
			_ = resp.Body.Close()
			time.Sleep(time.Minute)
		}
	})
}
