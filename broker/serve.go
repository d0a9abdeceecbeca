package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sseplane/sseplane/sse"
)

// Event is sse.Event, for those who implement it.
type Event = sse.Event

// lastEventIDParam is the query parameter for clients that can not set the
// Last-Event-ID header.
const lastEventIDParam = "lastEventId"

// Handler serves event streams. identify says whose connection a request is; it
// may block, with the request's context. The answer is
//   - 200 and the stream, or to HEAD its headers alone;
//   - 200, retry: and a close, from which an EventSource comes back, as it does after no other
//     status: this node is draining, closed, at its limit of connections, or out of
//     touch with the cluster; the client was disconnected meanwhile; or identify's error
//     is [ErrUnavailable];
//   - 401 for any other error of identify, whose text is logged at level debug and not sent;
//   - 400 for an [ErrInvalidName], such as an empty [Client.ID];
//   - 500, logged, for a bad option, metadata that are too large or no JSON, a
//     panic of identify, and an http.ResponseWriter that can not flush, such as
//     that of http.TimeoutHandler, in which streams do not work.
//
// A client resumes with the header Last-Event-ID, or with the query parameter
// lastEventId. The header wins, so that an EventSource may go on using an address
// with the parameter when it reconnects. The header Sse-Session of the response is the
// id of the session.
//
// ReadTimeout and WriteTimeout of the http.Server do not cut streams; [WithWriteDeadline]
// bounds writes.
func (b *Broker) Handler(identify func(*http.Request) (Client, error), options ...ConnectOption) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = b.serve(w, r, func() (Client, error) { return identify(r) }, options)
	})
}

// Serve is Handler for an application that has identified the client itself. It
// blocks until the connection has ended, and returns why; the request has then been
// answered in any case. Errors before the stream starts are those of [Broker.Connect],
// later ones those of [ClientConnection.Err].
//
// A client that was disconnected ([Broker.Disconnect]) while Serve was being called
// may get its stream all the same; Handler excludes that.
func (b *Broker) Serve(w http.ResponseWriter, r *http.Request, c Client, options ...ConnectOption) error {
	return b.serve(w, r, func() (Client, error) { return c, nil }, options)
}

func (b *Broker) serve(w http.ResponseWriter, r *http.Request, identify func() (Client, error), options []ConnectOption) error {
	s, err := b.open(w, r, identify, options)
	if err != nil {
		return err
	}
	return b.stream(r.Context(), s)
}

// Connect opens a stream for a client and returns while it is served in the
// background. The HTTP handler must not return before [ClientConnection.Done] is closed: the
// stream would end at once, because net/http takes the request for answered.
//
// When Connect returns an error it has answered the request itself, and the
// caller only returns: [*StreamingUnsupportedError] (500), [ErrInvalidName] (400),
// [ErrInvalidOption] (500), metadata that JSON has no form for or that are too large,
// [ErrEventTooLarge] (500), and, each with 200, retry: and a close, [ErrDraining],
// [ErrClosed], [ErrTooManyConnections], [ErrUnavailable] (this node has never reached the
// bus) and [ErrDisconnected] (meanwhile).
func (b *Broker) Connect(clientId string, w http.ResponseWriter, r *http.Request, options ...ConnectOption) (*ClientConnection, error) {
	return b.ConnectWithHeartBeatInterval(clientId, w, r, 0, options...)
}

// ConnectWithHeartBeatInterval is Connect with a heartbeat interval of the
// connection's own. 0 or less means the broker's, and less than 10 ms means 10 ms.
func (b *Broker) ConnectWithHeartBeatInterval(clientId string, w http.ResponseWriter, r *http.Request, interval time.Duration, options ...ConnectOption) (*ClientConnection, error) {
	options = append(slices.Clone(options), heartbeatEvery(interval))
	s, err := b.open(w, r, func() (Client, error) { return Client{ID: clientId}, nil }, options)
	if err != nil {
		return nil, err
	}
	go func() { // awaited through s.done, and by Close
		err := b.stream(r.Context(), s)
		if wroteTooLate(r.Context(), err) {
			b.earlyReturn.Do(func() {
				b.cfg.logger.Warn("sseplane: the HTTP handler returned before ClientConnection.Done was closed", "client", clientId, "error", err)
			})
		}
	}()
	return &ClientConnection{session: s, broker: b}, nil
}

// wroteTooLate reports whether a stream ended as it does when the handler has returned:
// net/http has then declared a length on HTTP/1.1, or its writer panics; on HTTP/2
// it panics too, or has an error that has no name.
func wroteTooLate(request context.Context, err error) bool {
	return errors.Is(err, http.ErrContentLength) ||
		errors.Is(err, errPanicked) && request.Err() != nil ||
		err != nil && strings.Contains(err.Error(), "closed due to handler exiting")
}

// open answers the request with a stream, up to its headers, or with an error.
func (b *Broker) open(w http.ResponseWriter, r *http.Request, identify func() (Client, error), options []ConnectOption) (*session, error) {
	s, err := b.admit(w, r, identify, options)
	if err != nil {
		if !errors.Is(err, errHead) {
			b.counters.refused.Add(1)
		}
		b.refuse(w, r, err)
		return nil, err
	}
	if err := guarded(b.cfg.logger, writerName, func() error { b.writeHeader(w, r, s); return nil }); err != nil {
		b.drop(s, err)
		return nil, err
	}
	return s, nil
}

// writerName names the application's writer where it panics.
const writerName = "the http.ResponseWriter"

// admit makes a session of a request.
func (b *Broker) admit(w http.ResponseWriter, r *http.Request, identify func() (Client, error), options []ConnectOption) (*session, error) {
	if !canStream(w) {
		return nil, NewStreamingUnsupportedError("broker: streaming unsupported: the http.ResponseWriter can not flush")
	}
	if err := b.awaitReached(r.Context()); err != nil {
		return nil, err
	}
	// Before identify: a disconnect from here on concerns this connection.
	position, life, err := b.node.position()
	if err != nil {
		return nil, err
	}
	var c connectConfig
	if c.client, err = b.identify(identify); err != nil {
		return nil, err
	}
	for _, o := range options {
		if o != nil {
			o.applyConnect(&c)
		}
	}
	metadata, err := c.validate(b.cfg.maxEvent)
	if err != nil {
		return nil, err
	}
	if r.Method == http.MethodHead {
		return nil, errHead
	}
	s := b.newSession(w, r, c, position)
	s.life = life
	if err := b.node.reserve(s); err != nil {
		return nil, err
	}
	if err := b.register(r.Context(), s, c, metadata, resumePoint(r, c)); err != nil {
		b.drop(s, err)
		return nil, err
	}
	return s, nil
}

// errHead: the headers are all that was asked for (RFC 9110, 9.3.2).
var errHead = errors.New("broker: HEAD has no stream")

// awaitReached starts the broker if need be, and gives it a moment to reach the
// bus for the first time.
func (b *Broker) awaitReached(ctx context.Context) error {
	if err := b.start(); err != nil {
		return err
	}
	select {
	case <-b.node.reached:
		return nil
	default:
	}
	patience := time.NewTimer(registerPatience)
	defer patience.Stop()
	select {
	case <-b.node.reached:
	case <-patience.C:
	case <-b.ctx.Done():
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrClientGone, context.Cause(ctx))
	}
	return nil // position knows
}

// unauthorized is an error of the application's identify.
type unauthorized struct{ error }

func (e unauthorized) Unwrap() error { return e.error }

func (b *Broker) identify(identify func() (Client, error)) (c Client, err error) {
	err = guarded(b.cfg.logger, "identify", func() (err error) {
		c, err = identify()
		return err
	})
	switch {
	case errors.Is(err, errPanicked):
		return c, err
	case err != nil:
		b.cfg.logger.Debug("sseplane: a request was not identified", "error", err)
		return c, unauthorized{err}
	}
	c.Topics = slices.Clone(c.Topics)
	return c, nil
}

func (b *Broker) newSession(w http.ResponseWriter, r *http.Request, c connectConfig, at Position) *session {
	now := time.Now()
	s := &session{
		id: randomID(), client: c.client.ID, node: b.node,
		socket:   newHandlerSocket(w, r.ProtoMajor, b.cfg.deadline),
		interval: b.cfg.heartbeat,
		joinedAt: at,
		resumed:  lastEventID(r),
		expires:  c.client.Expires,
		reauth:   c.reauth,
		takenAt:  now, idAt: now,
		done: make(chan struct{}),
	}
	if c.heartbeat > 0 {
		s.interval = max(c.heartbeat, 10*time.Millisecond)
	}
	if s.reauth != nil {
		s.reauth.launch = func(check func(context.Context)) { b.tasks.Go(func() { check(b.ctx) }) }
	}
	return s
}

// lastEventID returns where the client says that it stopped. A parameter that is not
// percent-encoded rightly counts as it stands: then it is no position, and a reset, where
// leaving it out, as [url.Values] does, would make a gap that nobody hears of.
func lastEventID(r *http.Request) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err != nil || name != lastEventIDParam {
			continue
		}
		if id, err := url.QueryUnescape(value); err == nil {
			return id
		}
		return value
	}
	return ""
}

func resumePoint(r *http.Request, c connectConfig) cursor {
	if id := lastEventID(r); id != "" {
		return parseCursor(id)
	}
	return c.since
}

// retry returns a reconnection time for a client.
func (b *Broker) retry() time.Duration {
	return b.cfg.retry + rand.N(b.cfg.retryJitter+1)
}

// stream serves an admitted session until it ends.
func (b *Broker) stream(ctx context.Context, s *session) error {
	err := guarded(b.cfg.logger, writerName, func() error { return s.socket.serve(ctx, s) })
	b.drop(s, err)
	return s.reason()
}

// drop takes a session out of everything.
func (b *Broker) drop(s *session, err error) {
	s.abandon(err)
	b.roster.end(s) // before leave: when the last has left, the register knows of all
	b.node.leave(s)
	close(s.done)
}
