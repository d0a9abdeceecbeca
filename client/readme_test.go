package client_test

import (
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	net "github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

// What follows are programs for the older library as its README and its users write them, with the import changed.

func oldSelectLoop(url string) error {
	feed, err := net.ConnectWithSSEFeed(url, nil)
	if err != nil {
		return err
	}

	sub, err := feed.Subscribe("message")
	if err != nil {
		return err
	}
	defer sub.Close()
	defer feed.Close()

	for {
		select {
		case evt := <-sub.Feed():
			log.Print(evt.GetData())
		case err := <-sub.ErrFeed():
			return err
		}
	}
}

func oldRangeLoop(url string) error {
	headers := map[string][]string{
		"Accept":        {"text/event-stream"},
		"Cache-Control": {"no-cache"},
		"Connection":    {"Keep-Alive"},
	}
	feed, err := net.ConnectWithSSEFeed(url, headers)
	if err != nil {
		return err
	}
	defer feed.Close()
	var sub *net.Subscription
	if sub, err = feed.Subscribe(""); err != nil {
		return err
	}
	for event := range sub.Feed() {
		if evt, ok := event.(sse.StringEvent); ok {
			log.Printf("%v %v", sub.EventType(), evt.Data)
		}
	}
	return nil
}

func TestOldPrograms(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Last-Event-ID") != "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		enc := sse.NewEncoder(w)
		enc.Encode(sse.Message{Retry: time.Millisecond})
		enc.Encode(sse.StringEvent{Id: "1", Event: "message", Data: "hello"})
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	defer log.SetOutput(log.Writer())
	var out strings.Builder
	log.SetOutput(&out)
	log.SetFlags(0)
	defer log.SetFlags(log.LstdFlags)
	if err := oldSelectLoop(server.URL); err != net.ErrNoContent {
		t.Error(err)
	}
	if err := oldRangeLoop(server.URL); err != nil {
		t.Error(err)
	}
	if out.String() != "hello\n hello\n" {
		t.Errorf("%q", out.String())
	}
}

// The loop may be busy with an event when the feed ends; it must not find a nil event before the reason.
func TestOldLoopThatIsBusy(t *testing.T) {
	for range 20 {
		bubble(t, func(t *testing.T) {
			s := open(t, serve(text("data: a\n\n")))
			sub, err := s.Subscribe("message")
			if err != nil {
				t.Fatal(err)
			}
			for {
				select {
				case evt := <-sub.Feed():
					if evt == nil {
						t.Fatal("nil event")
					}
					time.Sleep(7 * time.Second)
					s.Close()
					time.Sleep(time.Second)
					continue
				case err := <-sub.ErrFeed():
					if err != net.ErrClosed && err != net.ErrNoContent {
						t.Error(err)
					}
				}
				break
			}
		})
	}
}

// Who ranges over the events and asks for the reason afterwards does not wait long.
func TestOldRangeLoopEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, serve(hang("data: a\n\n")))
		sub, err := s.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		<-sub.Feed()
		start := time.Now()
		s.Close()
		for range sub.Feed() {
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("the loop ended after %v", d)
		}
		if err := <-sub.ErrFeed(); err != net.ErrClosed {
			t.Error(err)
		}
	})
}
