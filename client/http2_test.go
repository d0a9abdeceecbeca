package client_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

// Over HTTP/2 several streams share a connection, and the end of one is not that of the others.
func TestHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if id := r.Header.Get("Last-Event-ID"); id != "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		enc := sse.NewEncoder(w)
		enc.Encode(sse.StringEvent{Id: "1", Data: r.Proto})
		http.NewResponseController(w).Flush()
		if r.URL.Path == "/aborted" {
			panic(http.ErrAbortHandler)
		}
		if r.URL.Path == "/kept" {
			<-r.Context().Done()
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	option := client.WithHTTPClient(server.Client())
	kept, err := client.Open(t.Context(), server.URL+"/kept", option)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range kept.Events() {
		if err != nil || e.GetData() != "HTTP/2.0" {
			t.Error(e, err)
		}
		break
	}
	for _, path := range []string{"/ended", "/aborted"} {
		s, err := client.Open(t.Context(), server.URL+path, option, client.WithRetry(100*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if events, err := collect(s); fmt.Sprint(events, err) != fmt.Sprint("1||HTTP/2.0", client.ErrNoContent) {
			t.Errorf("%s: %q, %v", path, events, err)
		}
		s.Close()
	}
	if err := kept.Err(); err != nil {
		t.Error(err)
	}
	kept.Close()
}
