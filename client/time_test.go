package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/client"
)

// within fails unless each wait is between its least and 1.5 times that.
func within(t *testing.T, waits []time.Duration, least ...time.Duration) {
	t.Helper()
	ok := len(waits) == len(least)
	for i := range min(len(waits), len(least)) {
		ok = ok && waits[i] >= least[i] && waits[i] <= least[i]*3/2
	}
	if !ok {
		t.Errorf("waits %v, want %v and up to half more", waits, least)
	}
}

// lasting is a stream that ends a while after its text.
func lasting(s string, d time.Duration) answer {
	return body(func() io.ReadCloser {
		r, w := io.Pipe()
		go func() {
			io.WriteString(w, s)
			time.Sleep(d)
			w.Close()
		}()
		return r
	})
}

func TestBackoff(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	fail := refuse(errors.New("refused"))
	tests := []struct {
		name    string
		answers []answer
		options []client.Option
		want    []time.Duration
	}{
		{"grows to its most", []answer{fail, fail, fail, fail, fail, fail, fail}, nil,
			[]time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s}},
		{"other bounds", []answer{fail, fail, fail}, []client.Option{client.WithRetry(200 * ms), client.WithBackoff(300*ms, s)},
			[]time.Duration{200 * ms, 300 * ms, 300 * ms}},
		{"retry of the server", []answer{text("retry: 5000\n\n")}, nil, []time.Duration{5 * s}},
		{"retry is kept", []answer{text("retry: 5000\n\n"), text("retry: 5000\n\n"), text("retry: 5000\n\n")}, nil,
			[]time.Duration{5 * s, 5 * s, 5 * s}},
		{"retry is kept by who is not told again", []answer{text("retry: 5000\n\n"), text("data: a\n\n"), fail, text(""), text("")}, nil,
			[]time.Duration{5 * s, 5 * s, 10 * s, 5 * s, 5 * s}},
		{"retry of an unfinished block counts", []answer{text("retry: 5000\ndata: a")}, nil, []time.Duration{5 * s}},
		{"retry is where the growth starts", []answer{text("retry: 5000\n\n"), fail, fail, fail}, nil,
			[]time.Duration{5 * s, 10 * s, 20 * s, 30 * s}},
		{"retry beyond the most", []answer{text("retry: 60000\n\n"), fail, fail}, nil, []time.Duration{60 * s, 60 * s, 60 * s}},
		{"retry 0 is no busy loop", []answer{text("retry: 0\n\n"), text("retry: 0\n\n"), text("retry: 0\n\n")}, nil,
			[]time.Duration{100 * ms, 100 * ms, 100 * ms}},
		{"streams that end at once are no busy loop", []answer{text(""), text("data: a\n\n"), text("")}, nil,
			[]time.Duration{s, 2 * s, 4 * s}},
		{"a huge retry", []answer{text("retry: 99999999999999999999\n\n")}, nil, []time.Duration{24 * time.Hour}},
		{"Retry-After", []answer{status(503, "Retry-After", "7"), status(429, "Retry-After", "junk")}, nil,
			[]time.Duration{7 * s, 2 * s}},
		{"Retry-After that is shorter", []answer{status(503, "Retry-After", "0"), status(503, "Retry-After", "1")}, nil,
			[]time.Duration{s, 2 * s}},
		{"Retry-After without end", []answer{status(503, "Retry-After", "2000000000")}, nil, []time.Duration{24 * time.Hour}},
		{"Retry-After in the past", []answer{status(503, "Retry-After", time.Date(1990, 1, 1, 0, 0, 9, 0, time.UTC).Format(http.TimeFormat))}, nil,
			[]time.Duration{s}},
		{"Retry-After is for one try", []answer{status(503, "Retry-After", "60"), fail}, nil, []time.Duration{60 * s, 2 * s}},
		{"Retry-After as a date", []answer{status(503, "Retry-After", time.Date(2000, 1, 1, 0, 0, 9, 0, time.UTC).Format(http.TimeFormat))}, nil,
			[]time.Duration{9 * s}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				server := serve(tt.answers...)
				collect(open(t, server, tt.options...))
				within(t, server.waits(), tt.want...)
			})
		})
	}
}

func TestBackoffStartsAgainAfterStableTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fail := refuse(errors.New("refused"))
		server := serve(fail, fail, fail, lasting("data: a\n\n", 10*time.Second), fail)
		collect(open(t, server))
		waits := server.waits()
		waits[3] -= 10 * time.Second
		within(t, waits, time.Second, 2*time.Second, 4*time.Second, time.Second, 2*time.Second)
	})
}

func TestReconnectHook(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var reasons []error
		var waits []time.Duration
		server := serve(text("data: a\n\n"), status(503))
		collect(open(t, server, client.WithReconnectHook(func(err error, d time.Duration) {
			reasons = append(reasons, err)
			waits = append(waits, d)
		})))
		if len(reasons) != 2 || reasons[0] != io.EOF || fmt.Sprint(waits) != fmt.Sprint(server.waits()) {
			t.Errorf("%v %v", reasons, waits)
		}
		var status *client.StatusError
		if !errors.As(reasons[1], &status) || status.StatusCode != 503 {
			t.Error(reasons[1])
		}
	})
}

func TestIdleTimeout(t *testing.T) {
	idle := client.WithIdleTimeout(45 * time.Second)
	t.Run("a silent stream", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			server := serve(hang("id: 1\ndata: a\n\nid: 2\n\n"))
			var reported []error
			collect(open(t, server, idle, client.WithErrorHook(func(err error) { reported = append(reported, err) })))
			if len(reported) != 1 || reported[0] != client.ErrIdleTimeout || server.ids() != "- 2" {
				t.Errorf("reported %v, ids %q", reported, server.ids())
			}
			if d := server.waits()[0]; d < 46*time.Second || d > 47*time.Second {
				t.Errorf("noticed after %v", d)
			}
		})
	})
	t.Run("heartbeats keep it", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			r, w := io.Pipe()
			s := open(t, serve(body(func() io.ReadCloser { return r })), idle)
			go func() {
				for range 100 {
					time.Sleep(44 * time.Second)
					io.WriteString(w, ":\n\n")
				}
				io.WriteString(w, "data: a\n\n")
			}()
			for e, err := range s.Events() {
				if err != nil || e.GetData() != "a" {
					t.Error(e, err)
				}
				break
			}
		})
	})
	t.Run("a server that does not answer", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			server := serve(silent)
			_, err := collect(open(t, server))
			if d := server.waits()[0]; err != client.ErrNoContent || d < 31*time.Second || d > 32*time.Second {
				t.Errorf("%v after %v", err, d)
			}
		})
	})
	t.Run("a slow reader is not the server's fault", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			server := serve(text(strings.Repeat("data: 0123456789\n\n", 20)))
			n := 0
			for _, err := range open(t, server, idle, client.WithBuffer(1)).Events() {
				if err != nil {
					break
				}
				n++
				time.Sleep(time.Minute)
			}
			if n != 20 || server.count() != 2 {
				t.Errorf("%d events, %d requests", n, server.count())
			}
		})
	})
	t.Run("nobody reads yet", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			server := serve(hang("data: a\n\n"))
			s := open(t, server, idle)
			time.Sleep(time.Hour)
			if server.count() != 1 {
				t.Errorf("%d requests", server.count())
			}
			s.Close()
		})
	})
	t.Run("never", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			server := serve(hang("data: a\n\n"))
			s := open(t, server, client.WithIdleTimeout(0))
			s.Events()
			time.Sleep(1000 * time.Hour)
			if server.count() != 1 {
				t.Errorf("%d requests", server.count())
			}
			s.Close()
		})
	})
}

func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := serve(hang("id: 1\ndata: a\n\nid: 2\ndata: unfinished\n"), status(503), status(503), hang("data: b\n\n"), silent, text("data: c\n\n"))
		var reported []error
		s := open(t, server, client.WithErrorHook(func(err error) { reported = append(reported, err) }))
		events := s.Events()
		synctest.Wait()
		start := time.Now()
		s.Restart() // from an open stream
		synctest.Wait()
		s.Restart() // from a wait
		synctest.Wait()
		s.Restart() // from a wait, which begins at its shortest again
		synctest.Wait()
		s.Restart() // from an open stream
		synctest.Wait()
		s.Restart() // from a request that is not answered
		synctest.Wait()
		if d := time.Since(start); d != 0 {
			t.Errorf("restarts took %v", d)
		}
		var got []string
		for e, err := range events {
			if err != nil {
				break
			}
			got = append(got, show(e))
		}
		if g := strings.Join(got, " "); g != "1||a 1||b 1||c" || server.ids() != "- 1 1 1 1 1 1" {
			t.Errorf("%q, ids %q", g, server.ids())
		}
		if len(reported) != 2 {
			t.Errorf("reported %v, want the two statuses only", reported)
		}
		s.Restart() // after the end
	})
}
