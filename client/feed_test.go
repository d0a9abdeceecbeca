package client_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

// The calls of old code, in the shapes in which it makes them.
func TestOldNames(t *testing.T) {
	first, release := make(chan http.Header, 1), make(chan struct{})
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) > 1 {
			w.WriteHeader(204)
			return
		}
		first <- r.Header
		w.Header().Set("Content-Type", "text/event-stream")
		enc := sse.NewEncoder(w)
		enc.Encode(sse.Message{Retry: 1})
		enc.Encode(sse.StringEvent{Id: "1", Data: "a"})
		enc.Encode(sse.StringEvent{Event: "other", Data: "b"})
		enc.Encode(&sse.JsonEvent{Event: "message", Data: 7})
		http.NewResponseController(w).Flush()
		<-release
	}))
	defer server.Close()
	feed, err := client.ConnectWithSSEFeed(server.URL, map[string][]string{"authorization": {"Bearer x"}, "Connection": {"Keep-Alive"}})
	if err != nil {
		t.Fatal(err)
	}
	if h := <-first; h.Get("Authorization") != "Bearer x" || h.Get("Accept") != "text/event-stream" {
		t.Error(h)
	}
	sub, err := feed.Subscribe("message")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for end := false; !end; {
		select {
		case evt := <-sub.Feed():
			got = append(got, show(evt))
			if len(got) == 2 {
				close(release)
			}
		case err := <-sub.ErrFeed():
			if err != client.ErrNoContent {
				t.Error(err)
			}
			end = true
		}
	}
	if g := strings.Join(got, " "); g != "1||a 1|message|7" {
		t.Error(g)
	}
	sub.Close()
	feed.Close()
	sub.Close()
	feed.Close()
	if _, err := feed.Subscribe(""); err == nil {
		t.Error("Subscribe after the end")
	}
}

func TestConnectRefusesWhatIsNoStream(t *testing.T) {
	status := func(code int) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }))
		t.Cleanup(server.Close)
		return server.URL
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	var se *client.StatusError
	for _, code := range []int{404, 503} {
		if _, err := client.ConnectWithSSEFeed(status(code), nil); !errors.As(err, &se) || se.StatusCode != code {
			t.Errorf("%d: %v", code, err)
		}
	}
	var ce *client.ContentTypeError
	if _, err := client.ConnectWithSSEFeed(status(200), nil); !errors.As(err, &ce) {
		t.Error(err)
	}
	if _, err := client.ConnectWithSSEFeed(status(204), nil); err != client.ErrNoContent {
		t.Error(err)
	}
	for _, url := range []string{gone.URL, "", "::", "ftp://x/", "http://", "\x00"} {
		if _, err := client.ConnectWithSSEFeed(url, nil); err == nil {
			t.Errorf("%q: no error", url)
		}
	}
	if _, err := client.ConnectWithSSEFeed(gone.URL, map[string][]string{"A": {"x\r\nB: y"}}); err == nil {
		t.Error("a header with a line break was taken")
	}
}

// A goroutine in the old loop must not see a nil event when another closes the feed.
func TestOldLoopWhileClosing(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 100 {
			sse.NewEncoder(w).Encode(sse.StringEvent{Data: "a"})
		}
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	var wg sync.WaitGroup
	for range 20 {
		feed, err := client.ConnectWithSSEFeed(server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		sub, err := feed.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		seen := make(chan struct{})
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case evt := <-sub.Feed():
					if evt == nil {
						t.Error("nil event")
						return
					}
				case err := <-sub.ErrFeed():
					if err != client.ErrClosed {
						t.Error(err)
					}
					return
				}
				if n == 10 {
					close(seen)
				}
			}
		})
		<-seen
		feed.Close()
	}
	wg.Wait()
}
