package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync/atomic"
)

// errNobody: no replica takes requests.
var errNobody = errors.New("no replica is ready")

// balancer is a proxy that sends each request to the next replica that is ready.
type balancer struct {
	replicas  func() []*replica // those that are running
	transport http.RoundTripper
	streams   atomic.Uint64 // turns, apart from those of short requests so that streams spread evenly
	calls     atomic.Uint64
}

func newBalancer(replicas func() []*replica, logger *slog.Logger) http.Handler {
	b := &balancer{
		replicas: replicas,
		// A connection for each request: none is kept to a replica that died.
		transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "http"
			r.Out.Host = r.In.Host
		},
		Transport:     b,
		FlushInterval: -1, // streams
		ErrorHandler:  b.fail,
		ErrorLog:      slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// RoundTrip sends the request to the next replica that takes it.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	replicas := b.replicas()
	turn := &b.calls
	if isStream(r) {
		turn = &b.streams
	}
	first := turn.Add(1)
	for i := range uint64(len(replicas)) {
		replica := replicas[(first+i)%uint64(len(replicas))]
		if !replica.ready() {
			continue
		}
		attempt := r.Clone(r.Context())
		attempt.URL.Host = replica.addr
		if r.Body != nil {
			attempt.Body = io.NopCloser(r.Body) // for another attempt
		}
		answer, err := b.transport.RoundTrip(attempt)
		if err == nil || !unsent(err) {
			return answer, err
		}
	}
	return nil, errNobody
}

// unsent reports whether the request can not have reached anybody.
func unsent(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) && network.Op == "dial"
}

func isStream(r *http.Request) bool { return r.URL.Path == "/events" }

// fail answers for a replica that did not. An EventSource tries again only after
// a stream, and gives up for good on any other answer.
func (b *balancer) fail(w http.ResponseWriter, r *http.Request, err error) {
	if isStream(r) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = io.WriteString(w, "retry: "+strconv.FormatInt((retry+retryJitter).Milliseconds(), 10)+"\n\n")
		return
	}
	if errors.Is(err, errNobody) {
		fail(w, refuse(http.StatusServiceUnavailable, "%v", err))
		return
	}
	fail(w, refuse(http.StatusBadGateway, "the replica did not answer: %v", err))
}
