package middleware

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sseplane/sseplane/broker"
)

// protocol is a way in which a client and a server talk.
type protocol struct {
	name  string
	major int // of HTTP
	tls   bool
}

var protocols = []protocol{
	{"http1", 1, false},
	{"http1-tls", 1, true},
	{"http2-tls", 2, true},
	{"h2c", 2, false},
}

// serve starts a server, and returns it with a client that speaks the protocol.
func (p protocol) serve(t *testing.T, h http.Handler) (*httptest.Server, *http.Client) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	var spoken http.Protocols
	spoken.SetHTTP1(p.major == 1)
	spoken.SetHTTP2(p.major == 2 && p.tls)
	spoken.SetUnencryptedHTTP2(p.major == 2 && !p.tls)
	s.Config.Protocols = &spoken
	s.Config.WriteTimeout = time.Second // a service's usual timeouts must not cut streams
	s.Config.ReadTimeout = time.Second
	transport := &http.Transport{
		Protocols: &spoken,
		// The certificate is httptest's own.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	if p.tls {
		s.EnableHTTP2 = p.major == 2
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.CloseClientConnections()
		s.Close()
	})
	return s, &http.Client{Transport: transport}
}

// newBroker starts a broker whose heartbeats never help a stream along.
func newBroker(t *testing.T, options ...broker.Option) *broker.Broker {
	t.Helper()
	b := broker.NewBroker(nil, append([]broker.Option{broker.WithHeartbeat(time.Hour)}, options...)...)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("closing the broker: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return b
}

// handler serves streams to the client that the query names.
func handler(b *broker.Broker) http.Handler {
	return b.Handler(func(r *http.Request) (broker.Client, error) {
		return broker.Client{ID: r.URL.Query().Get("client"), Topics: []string{"news"}}, nil
	})
}
