package broker_test

import (
	"testing"

	"github.com/sseplane/sseplane/broker"
)

func TestBadHeaders(t *testing.T) {
	for name, value := range map[string]string{
		"": "x", "a b": "x", "a:": "x", "ä": "x", "a\n": "x", "X-Own": "a\r\nSet-Cookie: b", "X-Nul": "\x00", "X-Del": "\x7f",
		"Content-Type": "text/html", "content-type": "", "Content-Length": "5", "content-encoding": "gzip",
	} {
		bubble(t, func(t *testing.T) {
			b := broker.NewBroker(map[string]string{name: value})
			t.Cleanup(func() { shut(t, b) })
			isNamed(t, name, b.Start(t.Context()), "NewBroker")
		})
	}
}

// What applications set for proxies and browsers wins over the broker's own.
func TestHeadersThatWin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		headers := map[string]string{
			"Cache-Control": "no-store", "x-accel-buffering": "yes", "Access-Control-Allow-Origin": "https://a.example",
			"Access-Control-Allow-Credentials": "true", "Content-Type": "text/event-stream; charset=utf-8", "X-Tab": "a\tb", "X-Latin": "é",
		}
		b := broker.NewBroker(headers)
		t.Cleanup(func() { shut(t, b) })
		must(t, b.Start(t.Context()))
		r := connect(t, b, "joe")
		for name, want := range headers {
			if got := r.Header().Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})
}

// A Transfer-Encoding is the server's own: it is left out, and that is logged.
func TestTransferEncodingIsLeftOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		book := new(logbook)
		b := broker.NewBroker(map[string]string{"transfer-encoding": "identity"}, broker.WithLogger(book.logger()))
		t.Cleanup(func() { shut(t, b) })
		must(t, b.Start(t.Context()))
		if got := connect(t, b, "joe").Header().Get("Transfer-Encoding"); got != "" || !book.contains("name=transfer-encoding") {
			t.Errorf("sent %q, logged %q", got, book.text())
		}
	})
}
