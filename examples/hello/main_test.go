package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

func TestHello(t *testing.T) {
	b := broker.NewBroker(nil)
	server := httptest.NewServer(newHandler(b))
	defer server.Close()
	defer b.Close()

	answer, err := http.Get(server.URL + "/events?user=ann&team=blue")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for _, path := range []string{"/say?to=ann", "/say?team=blue", "/say"} {
		if status := post(t, server.URL+path); status != http.StatusOK {
			t.Fatalf("%s: status %d", path, status)
		}
	}
	events := sse.NewDecoder(answer.Body)
	for range 3 {
		event, err := events.Next()
		if err != nil || event.Event != "said" || event.Data != `{"text":"hi"}` || event.ID == "" {
			t.Fatalf("got %+v, %v", event, err)
		}
	}
	if status := post(t, server.URL+"/say?to=nobody"); status != http.StatusNotFound {
		t.Errorf("to nobody: status %d", status)
	}
	nobody, err := http.Get(server.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Body.Close()
	if nobody.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a user: status %d", nobody.StatusCode)
	}
}

func post(t *testing.T, url string) int {
	t.Helper()
	answer, err := http.Post(url, "text/plain", strings.NewReader("hi"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}
