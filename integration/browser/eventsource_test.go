package browser

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

// drainTime is how long a replica may take to end.
const drainTime = 10 * time.Second

// page records what its EventSource says, in order.
const page = `<!doctype html><title>EventSource</title><script>
const seen = [];
let source;
function connect(query) {
	seen.length = 0;
	source?.close();
	source = new EventSource("/events?client=tab" + (query ?? ""));
	source.onopen = () => seen.push({ type: "open", at: performance.now() });
	source.onerror = () => seen.push({ type: "error", state: source.readyState, at: performance.now() });
	for (const type of ["message", "notice", "reset"])
		source.addEventListener(type, (e) => seen.push({ type, data: e.data, id: e.lastEventId, at: performance.now() }));
}
const got = (type) => seen.filter((s) => s.type === type);
const times = (type) => got(type).length;
</script>`

// site is a service with one address whose broker can be replaced, as in a deploy. All
// brokers share a bus.
type site struct {
	t      *testing.T
	bus    *backplane.Memory
	server *httptest.Server

	mu      sync.Mutex // guards the rest
	broker  *broker.Broker
	refuse  int      // status that answers, 0 for none
	cursors []string // Last-Event-ID of each request for a stream
}

const (
	retry     = 700 * time.Millisecond
	heartbeat = 200 * time.Millisecond
)

func newSite(t *testing.T) *site {
	s := &site{t: t, bus: backplane.NewMemory()}
	s.deploy()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) })
	mux.HandleFunc("GET /events", s.events)
	s.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		_ = s.now().Close()
		s.server.Close()
	})
	return s
}

func (s *site) events(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.cursors = append(s.cursors, r.Header.Get("Last-Event-ID"))
	b, refuse := s.broker, s.refuse
	s.mu.Unlock()
	if refuse != 0 {
		http.Error(w, http.StatusText(refuse), refuse)
		return
	}
	_ = b.Serve(w, r, broker.Client{ID: r.URL.Query().Get("client"), Topics: []string{"news"}})
}

// deploy puts a new broker in place of the one before, and returns that.
func (s *site) deploy() *broker.Broker {
	b := broker.NewBroker(nil, broker.WithBackplane(s.bus), broker.WithRetry(retry, 0), broker.WithHeartbeat(heartbeat))
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := b.Start(ctx); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.broker
	s.broker = b
	return old
}

func (s *site) now() *broker.Broker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broker
}

func (s *site) answer(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = status
}

func (s *site) lastCursor() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursors[len(s.cursors)-1]
}

func (s *site) publish(event sse.Event) broker.Position {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	position, err := s.now().Publish(ctx, broker.Topics("news"), event)
	if err != nil {
		s.t.Fatal(err)
	}
	return position
}

// TestEventSource: what browsers bring is all that a page needs.
func TestEventSource(t *testing.T) {
	s := newSite(t)
	b := openTab(t)
	b.load(chromedp.Navigate(s.server.URL + "/"))
	connect := func(query string) {
		b.run(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("connect(%q)", query)))
	}
	connected := func() { b.until("the stream opens", `times("open") > 0`) }

	t.Run("types, lines and ids", func(t *testing.T) {
		connect("")
		connected()
		first := s.publish(sse.StringEvent{Data: "one\ntwo"})
		second := s.publish(sse.StringEvent{Event: "notice", Data: "three"})
		b.until("both come", `times("message") === 1 && times("notice") === 1`)
		same(t, eval[string](b, `got("message")[0].data`), "one\ntwo")
		same(t, eval[string](b, `got("message")[0].id`), first.String())
		same(t, eval[string](b, `got("notice")[0].id`), second.String())
	})

	t.Run("an id of the author's own", func(t *testing.T) {
		connect("")
		connected()
		position := s.publish(sse.StringEvent{Id: "order-17", Data: "paid"})
		b.until("it comes", `times("message") === 1`)
		same(t, eval[string](b, `got("message")[0].id`), "order-17")
		b.reconnect(s)
		// The position came in a block without data: remembered, and not dispatched.
		same(t, s.lastCursor(), position.String())
		same(t, eval[int](b, `times("message")`), 1)
	})

	t.Run("a drain", func(t *testing.T) {
		connect("")
		connected()
		s.publish(sse.StringEvent{Data: "before"})
		b.until("it comes", `times("message") === 1`)
		old := s.deploy()
		ctx, cancel := context.WithTimeout(t.Context(), drainTime)
		defer cancel()
		if err := old.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		s.publish(sse.StringEvent{Data: "meanwhile"})
		b.until("it comes through the new broker", `times("message") === 2`)
		same(t, eval[int](b, `times("open")`), 2)
		same(t, eval[int](b, `times("reset")`), 0)
		// It has waited for as long as it was told, and was only reconnecting.
		waited := eval[float64](b, `got("open")[1].at - got("error")[0].at`)
		if least := float64(retry.Milliseconds()) - 50; waited < least {
			t.Errorf("it came back after %v ms, was told %v", waited, retry)
		}
		same(t, eval[bool](b, `got("error").every((e) => e.state === EventSource.CONNECTING)`), true)
	})

	t.Run("a quiet stream", func(t *testing.T) {
		connect("")
		connected()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		// Events for others move the log on; the stream's cursor follows in blocks without data.
		position, err := s.now().Publish(ctx, broker.Topics("other"), sse.StringEvent{Data: "not for us"})
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(patience); ; {
			<-time.After(2 * heartbeat) // when the block comes; the page can not see it
			b.reconnect(s)
			if s.lastCursor() == position.String() {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("the cursor is still %s, the log is at %s", s.lastCursor(), position)
			}
		}
		same(t, eval[int](b, `times("message")`), 0)
	})

	t.Run("a reset", func(t *testing.T) {
		connect("&lastEventId=nonsense")
		b.until("it is told", `times("reset") === 1`)
		same(t, eval[string](b, `JSON.parse(got("reset")[0].data).reason`), "position")
		position := eval[string](b, `got("reset")[0].id`)
		b.reconnect(s)
		same(t, s.lastCursor(), position)
		s.publish(sse.StringEvent{Data: "after"})
		b.until("events come", `times("message") === 1`)
		same(t, eval[int](b, `times("reset")`), 1)
	})

	t.Run("other answers", func(t *testing.T) {
		connect("")
		connected()
		s.answer(http.StatusUnauthorized)
		s.server.CloseClientConnections()
		b.until("it gives up", `source.readyState === EventSource.CLOSED`)
		s.answer(0)
	})
}

// reconnect breaks the connection and waits for the next one.
func (b *tab) reconnect(s *site) {
	b.t.Helper()
	before := eval[int](b, `times("open")`)
	s.server.CloseClientConnections()
	b.until("it comes back", fmt.Sprintf(`times("open") > %d`, before))
}

func same[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
