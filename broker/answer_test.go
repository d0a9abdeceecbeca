package broker_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sseplane/sseplane/broker"
)

// What the application has set up wrongly is told apart in the answer, and logged.
func TestMisconfiguredIsLogged(t *testing.T) {
	for name, test := range map[string]struct {
		option  broker.Option
		connect broker.ConnectOption
	}{
		"WithLease":   {broker.WithLease(0), broker.FollowTopics("t")},
		"Since":       {broker.WithLease(time.Second), broker.Since(-1)},
		"Reauthorize": {broker.WithLease(time.Second), broker.Reauthorize(0, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				book := new(logbook)
				b := broker.NewBroker(nil, test.option, broker.WithLogger(book.logger()))
				t.Cleanup(func() { shut(t, b) })
				k := newSink()
				r, _ := request(t)
				b.Handler(func(*http.Request) (broker.Client, error) { return broker.Client{ID: "joe"}, nil }, test.connect).ServeHTTP(k, r)
				if k.code() != 500 || strings.TrimSpace(k.written()) != "the broker is misconfigured" {
					t.Errorf("answered %d %q", k.code(), k.written())
				}
				if !book.contains("level=ERROR") || !book.contains(name+":") {
					t.Errorf("logged %q", book.text())
				}
			})
		})
	}
}

// A writer that can not stream is logged with its type, once.
func TestWriterThatCanNotStreamIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		book := new(logbook)
		b := start(t, broker.WithLogger(book.logger()))
		for range 3 {
			k := newSink()
			r, _ := request(t)
			b.Handler(byPath).ServeHTTP(wrapper{deaf{k}, deaf{k}}, r)
			if k.code() != 500 || strings.TrimSpace(k.written()) != "streaming is not possible here" {
				t.Errorf("answered %d %q", k.code(), k.written())
			}
		}
		logged := book.text()
		if strings.Count(logged, "level=WARN") != 1 || !strings.Contains(logged, "writer=broker_test.wrapper") || !strings.Contains(logged, "innermost=broker_test.deaf") {
			t.Errorf("logged %q", logged)
		}
	})
}
