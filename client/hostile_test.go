package client_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

// raw is a server that does to the first connection what is told, and answers any further request with 204.
func raw(t *testing.T, attack func(c *net.TCPConn)) string {
	t.Helper()
	var n atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > 1 {
			w.WriteHeader(204)
			return
		}
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		attack(c.(*net.TCPConn))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// writeEndlessly repeats a text until the client hangs up.
func writeEndlessly(c net.Conn, text string) {
	p := []byte(strings.Repeat(text, 1+(64<<10)/len(text)))
	for {
		if _, err := c.Write(p); err != nil {
			return
		}
	}
}

func TestHostileServers(t *testing.T) {
	quick := []client.Option{client.WithRetry(100 * time.Millisecond), client.WithIdleTimeout(time.Second)}
	limit := client.WithLimits(1<<20, 1<<20)
	// hold keeps a connection open until the client gives it up.
	hold := func(c net.Conn) { io.Copy(io.Discard, c) }
	tests := []struct {
		name   string
		attack func(c *net.TCPConn)
		events string
		want   error // at the end
	}{
		{"endless line", func(c *net.TCPConn) {
			io.WriteString(c, head+"\r\ndata: a\n\ndata: ")
			writeEndlessly(c, "x")
		}, "||a", sse.ErrLineTooLong},
		{"endless event", func(c *net.TCPConn) {
			io.WriteString(c, head+"\r\ndata: a\n\n")
			writeEndlessly(c, "data: x\n")
		}, "||a", sse.ErrEventTooLarge},
		{"one byte at a time", func(c *net.TCPConn) {
			c.SetNoDelay(true)
			for _, b := range []byte(head + "\r\n\uFEFFid: 1\r\ndata: a\r\ndata: b\r\n\r\n") {
				c.Write([]byte{b})
			}
		}, "1||a\nb", client.ErrNoContent},
		{"silence after the head", func(c *net.TCPConn) {
			io.WriteString(c, head+"\r\n")
			hold(c)
		}, "", client.ErrNoContent},
		{"silence within the head", func(c *net.TCPConn) {
			io.WriteString(c, head)
			hold(c)
		}, "", client.ErrNoContent},
		{"silence within an event", func(c *net.TCPConn) {
			io.WriteString(c, head+"\r\ndata: a\n\ndata: b\n")
			hold(c)
		}, "||a", client.ErrNoContent},
		{"reset within an event", func(c *net.TCPConn) {
			io.WriteString(c, head+"\r\nid: 1\ndata: a\n\ndata: b\n")
			c.SetLinger(0)
		}, "", client.ErrNoContent},
		{"length too long", func(c *net.TCPConn) {
			io.WriteString(c, head+"Content-Length: 1000\r\n\r\ndata: a\n\ndata: b\n")
		}, "||a", client.ErrNoContent},
		{"length too short", func(c *net.TCPConn) {
			io.WriteString(c, head+"Content-Length: 12\r\n\r\ndata: a\n\ndata: b\n\n")
		}, "||a", client.ErrNoContent},
		{"two lengths", func(c *net.TCPConn) {
			io.WriteString(c, head+"Content-Length: 1\r\nContent-Length: 2\r\n\r\ndata: a\n\n")
		}, "", client.ErrNoContent},
		{"broken chunk", func(c *net.TCPConn) {
			io.WriteString(c, head+"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\nzz\r\ndata: b\n\n\r\n")
		}, "||a", client.ErrNoContent},
		{"chunk cut off", func(c *net.TCPConn) {
			io.WriteString(c, head+"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n9\r\ndata")
		}, "||a", client.ErrNoContent},
		{"endless head", func(c *net.TCPConn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			writeEndlessly(c, "X-A: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n")
		}, "", client.ErrNoContent},
		{"no HTTP", func(c *net.TCPConn) {
			io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n")
		}, "", client.ErrNoContent},
		{"closed at once", func(c *net.TCPConn) {}, "", client.ErrNoContent},
		{"gzip", func(c *net.TCPConn) {
			io.WriteString(c, head+"Content-Encoding: gzip\r\n\r\n")
			z := gzip.NewWriter(c)
			io.WriteString(z, "data: a\n\n")
			z.Close()
		}, "", &client.ContentTypeError{}},
		{"not UTF-8", func(c *net.TCPConn) {
			io.WriteString(c, head+"\r\n\xFF\xFEdata: a\n\ndata: \xFF\n\n")
		}, "||\uFFFD", client.ErrNoContent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := &http.Transport{}
			defer tr.CloseIdleConnections()
			options := append([]client.Option{limit, client.WithHTTPClient(&http.Client{Transport: tr})}, quick...)
			s, err := client.Open(t.Context(), raw(t, tt.attack), options...)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			events, err := collect(s)
			// A reset may overtake what was sent before it.
			if events != tt.events && !(strings.HasPrefix(tt.name, "reset") && events == "1||a") {
				t.Errorf("events %q, want %q", events, tt.events)
			}
			var ce *client.ContentTypeError
			if !errors.Is(err, tt.want) && !(errors.As(tt.want, &ce) && errors.As(err, &ce)) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	var requests atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.Redirect(w, r, "/loop", http.StatusFound)
	})
	for _, code := range []int{301, 302, 303, 307, 308} {
		mux.Handle(fmt.Sprintf("/%d", code), http.RedirectHandler("/events", code))
	}
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Last-Event-ID") == "1" {
			w.WriteHeader(204)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "id: 1\ndata: "+r.Header.Get("Accept")+"\n\n")
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	for _, code := range []int{301, 302, 303, 307, 308} {
		s, _ := client.Open(t.Context(), fmt.Sprintf("%s/%d", server.URL, code), client.WithRetry(100*time.Millisecond))
		if events, err := collect(s); events != "1||text/event-stream" || err != client.ErrNoContent {
			t.Errorf("%d: %q, %v", code, events, err)
		}
	}

	failed := make(chan error, 1)
	s, _ := client.Open(t.Context(), server.URL+"/loop", client.WithErrorHook(func(err error) { failed <- err }))
	if err := <-failed; !strings.Contains(err.Error(), "redirects") {
		t.Error(err)
	}
	s.Close()
	if n := requests.Load(); n > 11 {
		t.Errorf("%d requests for one try", n)
	}
}

// A transport whose bodies ignore the end of their request must not keep Close waiting.
func TestBodyThatIgnoresTheContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, serve(hang("data: a\n\n")))
		for range s.Events() {
			break
		}
		s.Close()
	})
}

// A server that sends a byte now and then is slow, not silent: nothing is lost, and Close waits for nothing.
func TestSlowloris(t *testing.T) {
	drip := func(c io.WriteCloser, s string) {
		for i := range len(s) {
			time.Sleep(44 * time.Second)
			if _, err := io.WriteString(c, s[i:i+1]); err != nil {
				return
			}
		}
	}
	idle := client.WithIdleTimeout(45 * time.Second)
	t.Run("an event comes whole", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			server := serve(body(func() io.ReadCloser {
				r, w := io.Pipe()
				go func() {
					drip(w, ": a long comment\r\nid: 1\r\ndata: a\r\ndata: b\r\n\r\n")
					w.Close()
				}()
				return r
			}))
			if got, err := collect(open(t, server, idle)); got != "1||a\nb" || err != client.ErrNoContent || server.ids() != "- 1" {
				t.Errorf("%q, %v, ids %q", got, err, server.ids())
			}
		})
	})
	t.Run("an endless line ends at the limit", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			r, w := io.Pipe()
			go drip(w, "data: "+strings.Repeat("x", 1000))
			s := open(t, serve(body(func() io.ReadCloser { return r })), idle, client.WithLimits(100, 100))
			if got, err := collect(s); got != "" || !errors.Is(err, sse.ErrLineTooLong) {
				t.Errorf("%q, %v", got, err)
			}
			time.Sleep(time.Minute) // until drip has noticed
		})
	})
	t.Run("Close in the middle", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			r, w := io.Pipe()
			go drip(w, "data: a\n\n")
			s := open(t, serve(body(func() io.ReadCloser { return r })), idle)
			s.Events()
			time.Sleep(time.Minute)
			start := time.Now()
			s.Close()
			if d := time.Since(start); d != 0 || s.Err() != client.ErrClosed {
				t.Errorf("took %v, %v", d, s.Err())
			}
			time.Sleep(time.Minute) // until drip has noticed
		})
	})
	t.Run("a head that does not end", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			server := serve(silent, text("data: a\n\n"))
			if got, err := collect(open(t, server, idle)); got != "||a" || err != client.ErrNoContent {
				t.Errorf("%q, %v", got, err)
			}
			if d := server.waits()[0]; d < 31*time.Second || d > 32*time.Second {
				t.Errorf("given up after %v", d)
			}
		})
	})
}

// The client must stand a flood of reconnects by a server that does nothing but send it away.
func TestServerThatSendsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n int
		start := time.Now()
		s := open(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			if n++; n > 1000 {
				return status(204)(r)
			}
			resp, err := text("retry: 0\n\n")(r)
			resp.Request = r
			return resp, err
		}))
		collect(s)
		if d := time.Since(start); d < 100*time.Second {
			t.Errorf("1000 tries in %v", d)
		}
	})
}
