// Package browser holds what pages see, in a headless Chromium: the demo behind a load
// balancer, and the EventSource that browsers bring.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/sseplane/sseplane/integration/internal/repo"
)

// patience is how long a test waits for what must come about.
const patience = 30 * time.Second

// tab is a page in a browser of its own.
type tab struct {
	t   *testing.T
	ctx context.Context
	// interrupted is set when the browser broke off what a page is made of; see load.
	interrupted atomic.Bool
}

// openTab starts a browser that lives as long as the test.
func openTab(t *testing.T) *tab {
	t.Helper()
	path := chromium(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // as root there is no other way
		chromedp.WindowSize(1280, 900),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	b := &tab{t: t}
	ctx, closeTab := chromedp.NewContext(allocator, chromedp.WithListener(func(event any) {
		switch event := event.(type) {
		case *cdpruntime.EventExceptionThrown:
			t.Errorf("the page threw: %s", event.ExceptionDetails.Text)
		case *network.EventResponseReceived:
			if event.Response.Status >= 400 {
				t.Logf("%s: status %d", event.Response.URL, event.Response.Status)
			}
		case *network.EventLoadingFailed:
			t.Logf("a %s was not loaded: %s", event.Type, event.ErrorText)
			if event.ErrorText == networkChanged {
				b.interrupted.Store(true)
			}
		}
	}))
	t.Cleanup(func() { // and waits for the browser's end
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("closing the browser: %v", err)
		}
		closeTab()
		stop()
	})
	// Starts the browser: without a limit, which would be the browser's.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	b.ctx = ctx
	return b
}

func chromium(t *testing.T) string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("these tests need Chromium; on Debian: apt-get install chromium, which integration/setup does")
	return ""
}

// run carries out an action.
func (b *tab) run(action chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Run(ctx, action)
	b.must(err)
}

// must ends the test at an error, with a screenshot.
func (b *tab) must(err error) {
	b.t.Helper()
	if err != nil {
		b.shot("failed")
		b.t.Fatal(err)
	}
}

// networkChanged is why Chromium breaks off all that it is loading when an interface of the machine
// comes or goes, which they do when containers start and end.
const networkChanged = "net::ERR_NETWORK_CHANGED"

// load carries out an action that loads a page, until the page was loaded without such an
// interruption.
func (b *tab) load(action chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		b.interrupted.Store(false)
		_, err := chromedp.Run(ctx, action)
		if !b.interrupted.Load() || ctx.Err() != nil {
			b.must(err)
			return
		}
	}
}

// eval returns the value of an expression in the page.
func eval[T any](b *tab, expression string) (value T) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// until waits until an expression is true.
func (b *tab) until(what, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Poll[bool]("!!("+expression+")", chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(0)))
	if err != nil {
		b.shot("failed")
		b.t.Fatalf("it did not come about that %s (%s): %v\nthe page says: %s", what, expression, err, b.words())
	}
}

// words is what the page says, for a message.
func (b *tab) words() string {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		return err.Error()
	}
	return text
}

// resize makes the window that of another device.
func (b *tab) resize(width, height int64, mobile bool) {
	b.t.Helper()
	options := []chromedp.EmulateViewportOption{}
	if mobile {
		options = append(options, chromedp.EmulateMobile)
	}
	b.run(chromedp.EmulateViewport(width, height, options...))
}

// shot writes a screenshot of the whole page to the artifacts.
func (b *tab) shot(name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Errorf("taking a screenshot: %v", err)
		return
	}
	path := repo.Artifact(b.t, fmt.Sprintf("%s-%s.png", b.t.Name(), name))
	if err := os.WriteFile(path, png, 0o644); err != nil {
		b.t.Error(err)
	}
}
