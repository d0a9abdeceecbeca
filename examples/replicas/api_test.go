package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sseplane/sseplane/backplane"
)

// TestInterface drives every path of a replica once, with names that need encoding.
func TestInterface(t *testing.T) {
	_, url := single(t, backplane.NewMemory())
	const (
		joe   = "joe%2F%C3%A4%20%F0%9F%98%80%3F" // joe/ä 😀?
		plain = "joe/ä 😀?"
		room  = "%2E%2E%2Froom" // ../room
	)
	events, session, _ := open(t, url+"/events?client="+joe+"&topic=news&topic=a%2Fb", "")
	if session == "" {
		t.Error("no Sse-Session")
	}

	// Publishing. The position of the answer is the id of the event.
	check := func(path, body, event string) {
		t.Helper()
		answer := ok(t, "POST", url+path, body).(map[string]any)
		m := next(t, events)
		if m.ID != answer["position"] || m.Event != event || m.Data != body {
			t.Errorf("%s: %v came as %+v", path, answer, m)
		}
	}
	check("/broadcast", "to all\n\nof you", "")
	check("/broadcast?event=greeting", "", "greeting")
	check("/send/"+joe+"?event=x&key=1", "<b>joe</b>", "x")
	check("/publish/a%2Fb", "to a/b", "")
	ok(t, "POST", url+"/publish/other", "to others")

	// A key counts once, and the answer is the same.
	first := ok(t, "POST", url+"/broadcast?key=once%2F%00", "once")
	again := ok(t, "POST", url+"/broadcast?key=once%2F%00", "once")
	if m := next(t, events); first.(map[string]any)["position"] != m.ID || again.(map[string]any)["position"] != m.ID {
		t.Errorf("answers %v and %v, event %+v", first, again, m)
	}

	// Presence and metadata.
	ok(t, "PUT", url+"/metadata/"+joe, ` {"colour": "blue", "n": [1.5, null]} `)
	want := `{"client":"` + plain + `","metadata":{"colour":"blue","n":[1.5,null]},"sessions":[{"id":"` + session + `","node":"solo"}]}`
	same(t, "presence of one", ok(t, "GET", url+"/presence/"+joe, ""), want)
	same(t, "presence", ok(t, "GET", url+"/presence", ""), "["+want+"]")

	// Rooms.
	ok(t, "POST", url+"/join/"+joe+"/"+room, "")
	check("/publish/"+room, "in the room", "")
	ok(t, "POST", url+"/leave/"+joe+"/"+room, "")
	ok(t, "POST", url+"/publish/"+room, "too late")
	check("/broadcast", "the last", "")

	// State.
	same(t, "healthz", ok(t, "GET", url+"/healthz", ""), `{"status":"ok"}`)
	same(t, "readyz", ok(t, "GET", url+"/readyz", ""), `{"status":"ok"}`)
	stats := ok(t, "GET", url+"/stats", "").(map[string]any)
	if stats["node"] != "solo" || stats["sessions"] != 1.0 || stats["position"] == "" {
		t.Errorf("stats: %v", stats)
	}

	// The end.
	same(t, "disconnects", ok(t, "GET", url+"/disconnects", ""), `[]`)
	ok(t, "POST", url+"/disconnect/"+joe, "")
	if m, err := events.Next(); err == nil {
		t.Errorf("after the disconnect came %+v", m)
	}
	eventually(t, "the disconnect is reported", func() bool {
		return len(ok(t, "GET", url+"/disconnects", "").([]any)) > 0
	})
	same(t, "disconnects", ok(t, "GET", url+"/disconnects", ""), `[{"client":"`+plain+`","session":"`+session+`"}]`)
	same(t, "presence", ok(t, "GET", url+"/presence", ""), `[]`)
}

func TestResume(t *testing.T) {
	_, url := single(t, backplane.NewMemory())
	events, _, hangUp := open(t, url+"/events?topic=news", "")
	ok(t, "POST", url+"/publish/news", "1")
	seen := next(t, events)
	hangUp()
	eventually(t, "it is gone", func() bool { return len(ok(t, "GET", url+"/presence", "").([]any)) == 0 })
	ok(t, "POST", url+"/publish/news", "2")
	for name, again := range map[string]func() string{
		"header": func() string { e, _, _ := open(t, url+"/events?topic=news", seen.ID); return next(t, e).Data },
		"query": func() string {
			e, _, _ := open(t, url+"/events?topic=news&lastEventId="+seen.ID, "")
			return next(t, e).Data
		},
	} {
		if got := again(); got != "2" {
			t.Errorf("%s: resumed with %q", name, got)
		}
	}
	foreign, _, _ := open(t, url+"/events", "of-another-server")
	if m := next(t, foreign); m.Event != "reset" || m.Data != `{"reason":"position"}` || m.ID == "" {
		t.Errorf("a foreign id is answered with %+v", m)
	}
	same(t, "anonymous clients", len(ok(t, "GET", url+"/presence", "").([]any)), `3`)
}

func TestBadRequests(t *testing.T) {
	_, url := single(t, backplane.NewMemory())
	_, _, _ = open(t, url+"/events?client=joe", "")
	long := strings.Repeat("x", backplane.MaxNameLen+1)
	for _, tt := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/nothing", "", 404},
		{"GET", "/events/more", "", 404},
		{"POST", "/", "", 405},
		{"POST", "/events", "", 405},
		{"GET", "/broadcast", "", 405},
		{"DELETE", "/metadata/joe", "", 405},
		{"GET", "/events?client=", "", 400},
		{"GET", "/events?client=" + long, "", 400},
		{"GET", "/events?client=%FF", "", 400},
		{"GET", "/events?topic=", "", 400},
		{"GET", "/events?topic=" + strings.Repeat("x&topic=", 1000) + "x", "", 400},
		{"POST", "/send/nobody", "x", 404},
		{"POST", "/send/", "x", 400},
		{"POST", "/send/%FF", "x", 400},
		{"POST", "/send/" + long, "x", 400},
		{"POST", "/send/a/b", "x", 404},
		{"POST", "/publish/", "x", 400},
		{"POST", "/publish/" + long, "x", 400},
		{"POST", "/broadcast?event=a%0Aid:%201", "x", 400},
		{"POST", "/broadcast?event=reset", "x", 400},
		{"POST", "/broadcast", strings.Repeat("x", maxEvent+1), 413},
		{"POST", "/broadcast", strings.Repeat("\n", maxEvent/2), 413}, // larger once encoded
		{"PUT", "/metadata/joe", "", 400},
		{"PUT", "/metadata/joe", "[]", 400},
		{"PUT", "/metadata/joe", "null", 400},
		{"PUT", "/metadata/joe", `{"a":1} {}`, 400},
		{"PUT", "/metadata/nobody", "{}", 404},
		{"GET", "/presence/nobody", "", 404},
		{"GET", "/presence/", "", 400},
		{"POST", "/join/nobody/room", "", 404},
		{"POST", "/join/joe/", "", 400},
		{"POST", "/leave//room", "", 400},
		{"POST", "/join/joe", "", 404},
		{"POST", "/disconnect/", "", 400},
		{"GET", "/demo/replicas", "", 404}, // it is alone
	} {
		status, answer := call(t, tt.method, url+tt.path, tt.body)
		sentence, _ := answer.(map[string]any)["error"].(string)
		if status != tt.status || sentence == "" {
			t.Errorf("%s %.60s: status %d, want %d, %v", tt.method, tt.path, status, tt.status, answer)
		}
	}
}

// TestOrigin: other sites' pages can not post here with their visitors' browsers.
func TestOrigin(t *testing.T) {
	_, url := single(t, backplane.NewMemory())
	for site, want := range map[string]int{"cross-site": http.StatusForbidden, "same-origin": http.StatusOK} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", url+"/broadcast", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Sec-Fetch-Site", site)
		answer, err := httpClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: status %d, want %d", site, answer.StatusCode, want)
		}
	}
}
