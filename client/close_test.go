package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

func TestCloseInEveryState(t *testing.T) {
	states := map[string]answer{
		"connecting":   silent,
		"open":         hang("data: a\n\n"),
		"silent":       hang(""),
		"waiting":      status(503),
		"ended":        status(204),
		"mid-event":    hang("data: a\n"),
		"much to read": hang(strings.Repeat("data: a\n\n", 10000)),
	}
	for name, a := range states {
		for _, readers := range []int{0, 1, 2} {
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					s := open(t, serve(a), client.WithBuffer(300))
					var sub *client.Subscription
					if readers > 0 {
						sub, _ = s.Subscribe("")
					}
					if readers > 1 {
						s.Handle("", func(sse.Event) {})
						s.Events()
					}
					synctest.Wait()
					start := time.Now()
					var wg sync.WaitGroup
					for range 3 {
						wg.Go(s.Close)
					}
					wg.Wait()
					if d := time.Since(start); d != 0 {
						t.Errorf("Close took %v", d)
					}
					if sub != nil {
						sub.Close()
						for range sub.Feed() {
						}
						if len(sub.ErrFeed()) != 1 {
							t.Error("no final error")
						}
					}
					s.Close()
					<-s.Done()
				})
			})
		}
	}
}

// Close from the caller's own code must not wait for itself, and nothing may be called after it.
func TestCloseFromWithin(t *testing.T) {
	const in = ": c\n: d\ndata: a\n\n: e\ndata: b\n\n"
	var s *client.Stream
	var calls int
	opened := make(chan struct{})
	closeIt := func() {
		<-opened
		calls++
		s.Close()
		s.Close()
	}
	tests := map[string]struct {
		answer answer
		option client.Option
		read   func()
	}{
		"open":      {hang(in), client.WithOpenHook(func(*http.Response) { closeIt() }), func() { s.Events() }},
		"comment":   {hang(in), client.WithCommentHook(func(string) { closeIt() }), func() { s.Events() }},
		"error":     {status(503), client.WithErrorHook(func(error) { closeIt() }), func() {}},
		"reconnect": {status(503), client.WithReconnectHook(func(error, time.Duration) { closeIt() }), func() {}},
		"callback":  {hang(in), nil, func() { s.Handle("", func(sse.Event) { closeIt() }) }},
		"loop": {hang(in), nil, func() {
			for range s.Events() {
				closeIt()
			}
		}},
		"channel": {hang(in), nil, func() {
			sub, _ := s.Subscribe("")
			for range sub.Feed() {
				closeIt()
				sub.Close()
			}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				opened, calls = make(chan struct{}), 0
				options := []client.Option{client.WithHTTPClient(&http.Client{Transport: serve(tt.answer)})}
				if tt.option != nil {
					options = append(options, tt.option)
				}
				var err error
				if s, err = client.Open(t.Context(), address, options...); err != nil {
					t.Fatal(err)
				}
				close(opened)
				tt.read()
				<-s.Done()
				synctest.Wait()
				if calls != 1 || s.Err() != client.ErrClosed {
					t.Errorf("%d calls, %v", calls, s.Err())
				}
			})
		})
	}
}

func TestStopOfHandle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, serve(hang(strings.Repeat("data: a\n\n", 10))))
		var stop func()
		n := 0
		ready := make(chan struct{})
		stop, _ = s.Handle("", func(sse.Event) {
			<-ready
			if n++; n == 3 {
				stop()
			}
		})
		close(ready)
		synctest.Wait()
		if n != 3 {
			t.Errorf("%d calls, want 3", n)
		}
		stop()
		s.Close()
	})
}

func TestContextEndsTheStream(t *testing.T) {
	why := errors.New("why")
	for name, a := range map[string]answer{"open": hang(numbered(1000)), "connecting": silent, "waiting": status(503)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				s, err := client.Open(ctx, address, client.WithHTTPClient(&http.Client{Transport: serve(a)}))
				if err != nil {
					t.Fatal(err)
				}
				sub, _ := s.Subscribe("")
				s.Events()
				synctest.Wait()
				cancel(why)
				<-s.Done()
				if s.Err() != why {
					t.Error(s.Err())
				}
				if _, err := collect(s); err != why {
					t.Error("the loop had", err)
				}
				for range sub.Feed() {
				}
				if err := <-sub.ErrFeed(); err != why {
					t.Error("the channel had", err)
				}
			})
		})
	}
}

// Over real connections: starting, stopping and subscribing at random moments, from many goroutines.
func TestCloseWhileBusy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		enc := sse.NewEncoder(w)
		for i := range 200 {
			if enc.Encode(sse.StringEvent{Event: "x", Data: strings.Repeat("x", i)}) != nil {
				return
			}
			http.NewResponseController(w).Flush()
		}
	}))
	defer server.Close()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			s, err := client.Open(t.Context(), server.URL, client.WithRetry(100*time.Millisecond))
			if err != nil {
				t.Error(err)
				return
			}
			seen := make(chan struct{}, 1000)
			s.Handle("x", func(sse.Event) {
				select {
				case seen <- struct{}{}:
				default:
				}
			})
			sub, err := s.Subscribe("x")
			if err == nil {
				wg.Go(func() {
					for range sub.Feed() {
					}
				})
			}
			for range i % 7 * 20 {
				<-seen
			}
			if i%3 == 0 {
				s.Restart()
			}
			if i%2 == 0 {
				wg.Go(s.Close)
			}
			s.Close()
		})
	}
	wg.Wait()
	if left := leaked(); left != "" {
		t.Errorf("goroutines left over:\n%s", left)
	}
}
