package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
)

// handle serves a request with a Handler.
func handle(t *testing.T, b *broker.Broker, identify func(*http.Request) (broker.Client, error), change ...func(*http.Request)) *reader {
	t.Helper()
	k := newSink()
	h := b.Handler(identify)
	return serve(t, k, k, func(w http.ResponseWriter, r *http.Request) error { h.ServeHTTP(w, r); return nil }, change...)
}

func TestHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		h := b.Handler(func(r *http.Request) (broker.Client, error) {
			return broker.Client{ID: r.URL.Path, Topics: []string{"a"}, Metadata: broker.ClientMetadata{"k": "v"}}, nil
		}, broker.FollowTopics("b"), broker.FollowTopics("c"))
		k := newSink()
		r := serve(t, k, k, func(w http.ResponseWriter, r *http.Request) error { h.ServeHTTP(w, r); return nil })
		synctest.Wait()
		for _, topic := range []string{"a", "b", "c", "d"} {
			publish(t, b, broker.Topics(topic), text(topic))
		}
		must(t, b.Send("/events", text("e")))
		r.wants("a", "b", "c", "e")
		m, err := b.GetClientMetadata("/events")
		must(t, err)
		if m["k"] != "v" {
			t.Errorf("metadata %v", m)
		}
		sessions, err := b.Sessions(t.Context(), "/events")
		must(t, err)
		if len(sessions) != 1 || sessions[0].ID != k.Header().Get("Sse-Session") {
			t.Errorf("sessions %+v, header %q", sessions, k.Header().Get("Sse-Session"))
		}
		if r.ended() {
			t.Error("the handler has returned")
		}
		r.leave()
	})
}

func TestIdentifyRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		err      error
		comeBack bool
	}{
		"error":         {errors.New("secret reason"), false},
		"name error":    {broker.ErrInvalidName, false},
		"unavailable":   {broker.ErrUnavailable, true},
		"wrapped":       {fmt.Errorf("database: %w", broker.ErrUnavailable), true},
		"not streaming": {errors.New("streaming is not possible"), false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				j := new(journal)
				b := start(t, broker.WithHooks(j.hooks("b")))
				r := handle(t, b, func(*http.Request) (broker.Client, error) { return broker.Client{ID: "joe"}, test.err })
				r.wait()
				if test.comeBack {
					isComeBack(t, r.sink)
				} else if r.code() != http.StatusUnauthorized || strings.Contains(r.written(), "secret") ||
					r.Header().Get("Content-Type") == "text/event-stream" {
					t.Errorf("answered %d %q", r.code(), r.written())
				}
				synctest.Wait()
				j.wants(t)
				if s := b.Stats(); s.Refused != 1 || s.Sessions != 0 {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

// An identify that panics must not let anybody in, nor end the process; it is a
// fault of the application, which has to hear of it.
func TestIdentifyPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		book := new(logbook)
		b := start(t, broker.WithLogger(book.logger()))
		r := handle(t, b, func(*http.Request) (broker.Client, error) { panic("in identify") })
		r.wait()
		if r.code() < 400 || strings.Contains(r.written(), "in identify") {
			t.Errorf("answered %d %q", r.code(), r.written())
		}
		if !book.contains("in identify") {
			t.Error("nobody is told")
		}
		handle(t, b, func(*http.Request) (broker.Client, error) { return broker.Client{ID: "joe"}, nil })
		synctest.Wait()
		if !b.IsClientPresent("joe") {
			t.Error("the broker suffers")
		}
	})
}

// A client that is disconnected while identify runs gets no stream: that may have
// looked at rights that it has no longer.
func TestDisconnectDuringIdentify(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		r := handle(t, nodes[0], func(*http.Request) (broker.Client, error) {
			must(t, nodes[1].Disconnect(context.Background(), "joe", "sacked"))
			return broker.Client{ID: "joe"}, nil
		})
		r.wait()
		isComeBack(t, r.sink)
		synctest.Wait() // the node has heard of it; who comes before may be refused as well
		again := handle(t, nodes[0], func(*http.Request) (broker.Client, error) { return broker.Client{ID: "joe"}, nil })
		synctest.Wait()
		if again.ended() {
			t.Error("who comes later is let in")
		}
	})
}

// identify may take as long as the request lives.
func TestIdentifyThatIsSlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		slow := func(r *http.Request) (broker.Client, error) {
			select {
			case <-time.After(time.Minute):
				return broker.Client{ID: "joe"}, nil
			case <-r.Context().Done():
				return broker.Client{}, r.Context().Err()
			}
		}
		stays, goes := handle(t, b, slow), handle(t, b, slow)
		time.Sleep(time.Second)
		must(t, b.Broadcast(text("before")))
		goes.leave()
		time.Sleep(time.Minute)
		must(t, b.Broadcast(text("after")))
		stays.wants("after")
	})
}
