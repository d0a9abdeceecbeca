package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/sseplane/sseplane/integration/internal/bus"
	"github.com/sseplane/sseplane/integration/internal/dock"
	"github.com/sseplane/sseplane/integration/internal/fleet"
)

// TestDemo: a person opens the demo behind nginx, gets events of all kinds, sees who
// comes and goes, and does not notice that the replica is killed.
func TestDemo(t *testing.T) {
	f := fleet.Start(t, bus.Redis, 3, "-lease", "2s", "-drain", "2s", "-tick", "300ms")
	b := openTab(t)
	b.load(chromedp.Navigate(f.URL() + "/"))
	b.until("a replica serves the tab", served+` !== ""`)
	b.until("numbered events come", `+document.querySelector("#received").textContent > 5`)
	me := eval[string](b, `document.querySelector("#client").textContent`)

	t.Log("events of all kinds")
	post(t, f.URL()+"/broadcast", "to everybody")
	b.until("a broadcast comes", said("to everybody"))
	post(t, f.URL()+"/send/"+url.PathEscape(me), "to this one alone")
	b.until("an event of the client's own comes", said("to this one alone"))
	b.run(chromedp.SendKeys("#room", "kitchen\r"))
	b.until("the room is joined", `document.querySelector("#rooms").textContent.includes("kitchen")`)
	post(t, f.URL()+"/publish/kitchen", "to the kitchen")
	b.until("an event of a room comes", said("to the kitchen"))
	b.run(chromedp.SendKeys("#text", "typed by hand\r"))
	b.until("what was typed comes", said("typed by hand"))

	t.Log("presence")
	b.until("one is online", online(1))
	leave := join(t, f.URL(), "visitor")
	b.until("the visitor is seen", online(2)+` && document.querySelector("#online").textContent.includes("visitor")`)
	leave()
	b.until("the visitor is gone", online(1))
	b.shot("desktop")

	t.Log("the replica that serves the tab is killed")
	first := b.replica(f)
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	b.until("another replica serves the tab", served+` !== "" && `+served+` !== "`+first.Name+`"`)
	post(t, f.URL()+"/broadcast", "after the kill")
	b.until("events come again", said("after the kill"))
	b.until("presence is right again", online(1))
	b.exact()
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}

	t.Log("the next one is drained")
	second := b.replica(f)
	if err := second.Stop(drainTime); err != nil {
		t.Fatal(err)
	}
	b.until("another replica serves the tab", served+` !== "" && `+served+` !== "`+second.Name+`"`)
	post(t, f.URL()+"/broadcast", "after the drain")
	b.until("events come again", said("after the drain"))
	if moves := eval[int](b, `+document.querySelector("#moves").textContent`); moves < 2 {
		t.Errorf("the page counts %d moves, want 2 or more", moves)
	}
	b.exact()
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}

	t.Log("the tab is reloaded")
	post(t, f.URL()+"/broadcast", "before the reload")
	b.load(chromedp.Reload())
	b.until("a replica serves the tab", served+` !== ""`)
	post(t, f.URL()+"/broadcast", "after the reload")
	b.until("events come again", said("after the reload"))
	b.exact()

	t.Log("on a phone")
	b.resize(390, 844, true)
	b.until("nothing is wider than the screen", `document.documentElement.scrollWidth <= 390`)
	b.until("the counters can be seen", `[...document.querySelectorAll("#missed, #duplicated, #received")].every((e) => e.getBoundingClientRect().right <= 390)`)
	b.shot("phone")
	b.resize(320, 640, true)
	b.until("nothing is wider than a small screen", `document.documentElement.scrollWidth <= 320`)
	b.exact()
}

const served = `((document.querySelector("#served-text").textContent.match(/served by replica (\S+)/) ?? ["", ""])[1])`

func said(text string) string {
	return fmt.Sprintf(`document.querySelector("#log").textContent.includes(%q)`, text)
}

func online(n int) string {
	return fmt.Sprintf(`document.querySelector("#online-count").textContent === "%d"`, n)
}

// replica is the one that serves the tab.
func (b *tab) replica(f *fleet.Fleet) *dock.Container {
	b.t.Helper()
	name := eval[string](b, served)
	for _, r := range f.Replicas {
		if r.Name == name {
			return r
		}
	}
	b.t.Fatalf("the tab is served by %q, which is no replica", name)
	return nil
}

// exact: the page has missed nothing, got nothing twice, and was not reset.
func (b *tab) exact() {
	b.t.Helper()
	for _, counter := range []string{"missed", "duplicated", "resets"} {
		if n := eval[string](b, `document.querySelector("#`+counter+`").textContent`); n != "0" {
			b.t.Errorf("the page counts %s %s\nit says: %s", n, counter, b.words())
		}
	}
}

func post(t *testing.T, url, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: %s", url, resp.Status)
	}
}

// join connects another client, until leave is called.
func join(t *testing.T, base, client string) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/events?hello=1&client="+client, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = resp.Body.Close() })
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if !json.Valid([]byte(data)) {
				t.Fatalf("the stream begins with %q", data)
			}
			return cancel
		}
	}
	t.Fatal("the stream ended at once")
	return nil
}
