package client_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sseplane/sseplane/client"
)

// told is what the last request to /events said.
type told struct {
	method, body, id, authorization, cookie, own string
}

// eventsOrGone serves one event, then 204, and notes the first request.
func eventsOrGone(first *atomic.Pointer[told]) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if !first.CompareAndSwap(nil, &told{r.Method, string(b), r.Header.Get("Last-Event-ID"), r.Header.Get("Authorization"),
			r.Header.Get("Cookie"), r.Header.Get("X-A")}) {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "id: 1\ndata: a\n\n")
	}
}

// What a redirect keeps of the request: to the same host all, to another one no credentials; the method and the body if
// the status says so.
func TestRedirectedRequest(t *testing.T) {
	for _, other := range []bool{false, true} {
		for _, code := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprintf("%d, other host %v", code, other), func(t *testing.T) {
				var got atomic.Pointer[told]
				mux := http.NewServeMux()
				server := httptest.NewServer(mux)
				defer server.Close()
				target := server.URL + "/events"
				if other {
					// To net/http the name and the address of one machine are two hosts.
					target = strings.Replace(target, "127.0.0.1", "localhost", 1)
				}
				mux.Handle("/from", http.RedirectHandler(target, code))
				mux.Handle("/events", eventsOrGone(&got))
				tr := &http.Transport{}
				defer tr.CloseIdleConnections()
				s, err := client.Open(t.Context(), server.URL+"/from", client.WithMethod("POST"), client.WithBody([]byte("query")),
					client.WithLastEventID("7"), client.WithHeader("Authorization", "Bearer x"), client.WithHeader("Cookie", "c=1"),
					client.WithHeader("X-A", "y"), client.WithRetry(100*time.Millisecond), client.WithHTTPClient(&http.Client{Transport: tr}))
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if events, err := collect(s); events != "1||a" || err != client.ErrNoContent {
					t.Errorf("%q, %v", events, err)
				}
				want := told{"GET", "", "7", "Bearer x", "c=1", "y"}
				if code >= 307 {
					want.method, want.body = "POST", "query"
				}
				if other {
					want.authorization, want.cookie = "", ""
				}
				if *got.Load() != want {
					t.Errorf("got %+v, want %+v", *got.Load(), want)
				}
			})
		}
	}
}

// A reconnect starts from the address that was given, because where it led may be gone.
func TestReconnectStartsFromTheAddress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var paths []string
		n := 0
		s := open(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			paths = append(paths, r.URL.Path)
			answer := status(204)
			switch n++; n {
			case 1, 3:
				answer = status(301, "Location", fmt.Sprintf("/replica%d", n))
			case 2, 4:
				answer = text("data: a\n\n")
			}
			resp, err := answer(r)
			resp.Request = r
			return resp, err
		}))
		events, _ := collect(s)
		if got := strings.Join(paths, " "); got != "/events /replica1 /events /replica3 /events" || events != "||a ||a" {
			t.Errorf("%s: %s", got, events)
		}
	})
}

func TestRedirectLoop(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.Redirect(w, r, r.URL.Path+"x", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if _, err := client.ConnectWithSSEFeed(server.URL, nil); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Error(err)
	}
	if n := requests.Load(); n > 11 {
		t.Errorf("%d requests", n)
	}
}

// A redirect that leads nowhere is an answer like any other that is no stream.
func TestRedirectWithoutALocation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := serve(status(302))
		_, err := collect(open(t, server))
		if se, ok := err.(*client.StatusError); !ok || se.StatusCode != 302 || server.count() != 1 {
			t.Error(err, server.count())
		}
	})
}
