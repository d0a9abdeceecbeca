package natsbus

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How a link notices and leaves a broken connection or a server without a quorum.
const (
	pingInterval  = 500 * time.Millisecond // two unanswered: the connection is dead
	reconnectWait = 50 * time.Millisecond
	dialTimeout   = time.Second

	// moveAfter is how long requests go unanswered until the link goes to another
	// server, moveEvery how often it does at most: while a whole cluster elects,
	// moving helps nobody.
	moveAfter = 1500 * time.Millisecond
	moveEvery = 4 * time.Second
)

// link is a connection of the library's own, made with the options of the
// application's: that one's reconnect buffer may publish what its caller has long
// given up, and its timing is not ours to set.
type link struct {
	nc *nats.Conn
	js jetstream.JetStream

	mu      sync.Mutex // guards what follows
	up      bool
	changed chan struct{} // closed when up changes
	downErr error         // why it is not up
	refused error         // the newest asynchronous error, and when it came
	refusal time.Time
	unheard error // why answers do not arrive, if the server has refused a subscription

	silent time.Time // since when requests go unanswered; zero: they do not
	heard  time.Time // of the newest of them
	moved  time.Time
}

// connect makes a link. It returns without an error while no server answers, and
// goes on trying until the link is closed.
func connect(app *nats.Conn, purpose string) (*link, error) {
	l := &link{changed: make(chan struct{}), downErr: nats.ErrNoServers}
	o := app.Opts
	o.Servers = servers(app)
	o.Url = ""
	o.Name = purpose
	if app.Opts.Name != "" {
		o.Name = app.Opts.Name + " " + purpose
	}
	o.AllowReconnect = true
	o.RetryOnFailedConnect = true
	o.IgnoreAuthErrorAbort = true
	o.MaxReconnect = -1
	o.ReconnectBufSize = -1 // publish now or fail now
	o.ReconnectWait = reconnectWait
	o.ReconnectJitter, o.ReconnectJitterTLS = reconnectWait, reconnectWait
	o.CustomReconnectDelayCB = nil
	o.Timeout = dialTimeout
	o.PingInterval = pingInterval
	o.MaxPingsOut = 2
	o.FlusherTimeout = 2 * time.Second
	o.ReconnectOnFlusherError = true
	o.NoEcho = false
	o.UseOldRequestStyle = false
	o.Verbose = false

	// The application's handlers are about the application's connection.
	o.ClosedCB, o.DisconnectedCB, o.DiscoveredServersCB = nil, nil, nil
	o.ReconnectErrCB, o.ReconnectToServerCB, o.LameDuckModeHandler = nil, nil, nil
	o.ConnectedCB = func(*nats.Conn) { l.setUp(nil) }
	o.ReconnectedCB = func(*nats.Conn) { l.setUp(nil) }
	o.DisconnectedErrCB = func(_ *nats.Conn, err error) {
		if err == nil {
			err = nats.ErrDisconnected
		}
		l.setUp(err)
	}
	o.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { l.asyncError(err) }

	nc, err := o.Connect()
	if err != nil {
		return nil, fmt.Errorf("natsbus: connect: %w", err)
	}
	l.nc = nc
	if nc.IsConnected() {
		l.setUp(nil)
	}
	if l.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(apiTimeout)); err != nil {
		nc.Close()
		return nil, fmt.Errorf("natsbus: %w", err)
	}
	return l, nil
}

// servers returns the URLs of the application's servers, those that it was told
// first, with the credentials that stood in its first URL.
func servers(app *nats.Conn) []string {
	var out []string
	if app.Opts.Url != "" {
		out = append(out, app.Opts.Url)
	}
	out = append(out, app.Opts.Servers...)
	var user *url.Userinfo
	if len(out) > 0 {
		if u, err := url.Parse(out[0]); err == nil {
			user = u.User
		}
	}
	for _, s := range app.DiscoveredServers() {
		if u, err := url.Parse(s); err == nil && user != nil {
			u.User = user
			s = u.String()
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (l *link) setUp(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.downErr = err == nil, err
	l.silent, l.unheard = time.Time{}, nil
	close(l.changed)
	l.changed = make(chan struct{})
}

// state returns a channel that is closed when the state of the link changes, and why
// it is not up, or nil.
func (l *link) state() (changed <-chan struct{}, down error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up {
		return l.changed, nil
	}
	return l.changed, l.downErr
}

// await waits until the link is up, for as long as ctx lasts.
func (l *link) await(ctx context.Context) error {
	for {
		changed, err := l.state()
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("natsbus: not connected: %w", err)
		}
	}
}

func (l *link) asyncError(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused, l.refusal = err, time.Now()
	if errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), "Subscription") {
		l.unheard = err
	}
}

// explain adds to the error of a request what the server said meanwhile: a
// refused permission is a silent timeout for the request itself.
func (l *link) explain(err error, since time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unheard != nil {
		return fmt.Errorf("%w (%w)", err, l.unheard)
	}
	if l.refused != nil && l.refusal.After(since) && errors.Is(l.refused, nats.ErrPermissionViolation) {
		return fmt.Errorf("%w (%w)", err, l.refused)
	}
	return err
}

// answered notes that the server has shown to have a quorum.
func (l *link) answered() {
	l.mu.Lock()
	l.silent = time.Time{}
	l.mu.Unlock()
}

// unanswered notes that a request that needs a quorum, sent at the time given,
// had no answer. When that has lasted, the link goes to another server.
func (l *link) unanswered(sent time.Time) {
	l.mu.Lock()
	now := time.Now()
	move := false
	switch {
	case !l.up:
	case l.silent.IsZero() || now.Sub(l.heard) > moveEvery: // the first, or the first for long
		l.silent = sent
		fallthrough
	default:
		l.heard = now
		if move = now.Sub(l.silent) >= moveAfter && now.Sub(l.moved) >= moveEvery; move {
			l.moved, l.silent = now, time.Time{}
		}
	}
	l.mu.Unlock()
	if move {
		_ = l.nc.ForceReconnect() // fails only when closed
	}
}

func (l *link) close() { l.nc.Close() }
