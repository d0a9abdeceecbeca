package broker

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strings"
	"sync"

	"github.com/sseplane/sseplane/backplane"
)

// Broker is one node: it serves event streams to its clients, and publishes to
// everyone's. Make one with [NewBroker], and end it with [Broker.Shutdown] or
// [Broker.Close]. It is safe for concurrent use.
type Broker struct {
	cfg       *config
	node      *node
	callbacks *callbacks
	counters  *counters

	// Set by boot, before node.reached is closed.
	log       backplane.Log
	publisher *batcher
	roster    *roster
	presence  *presenceAsker
	keeper    *keeper

	startOnce sync.Once
	startErr  error

	deafWriter  sync.Once // logs that there is one
	earlyReturn sync.Once // logs that a handler has returned too early

	ctx    context.Context // ends when everything must
	cancel context.CancelFunc
	tasks  sync.WaitGroup // follower, clock, ...: end with ctx
	stop   stopping
}

// NewBroker returns a broker that sends the headers, which may be nil, with every stream.
// It starts nothing and reports no error: that is up to [Broker.Start], or to the
// first call that needs the broker running. The headers are copied. They win over the
// broker's own: Cache-Control, X-Accel-Buffering. One that can not be sent, a Content-Type
// that is not text/event-stream, a Content-Length and a Content-Encoding are an
// [ErrInvalidOption]; a Transfer-Encoding is left out, and on HTTP/2 so is what it does not
// have, such as Connection.
func NewBroker(headers map[string]string, options ...Option) *Broker {
	cfg := defaultConfig()
	for _, o := range options {
		if o != nil {
			o.apply(cfg)
		}
	}
	cfg.headers = cfg.checkedHeaders(headers)
	if cfg.backplane == nil {
		cfg.backplane = backplane.NewMemory()
	}
	if cfg.nodeName == "" {
		cfg.nodeName = "node-" + randomID()[:8]
	}
	c := new(counters)
	b := &Broker{cfg: cfg, counters: c, node: newNode(cfg, c), callbacks: newCallbacks(cfg)}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.stop.done = make(chan struct{})
	return b
}

// randomID returns 128 random bits as 26 characters of [a-z2-7].
func randomID() string {
	return strings.ToLower(strings.TrimRight(base32.StdEncoding.EncodeToString(randomBytes(16)), "="))
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// Start starts the broker and waits until it has first reached the bus, or
// ctx ends: then it is [ErrUnavailable], with the last error of the bus, if it has answered
// with one, and the broker keeps trying. A bad option
// is [ErrInvalidOption]. Calling Start is not necessary; it tells early what is
// wrong. Later calls do not start anything.
func (b *Broker) Start(ctx context.Context) error {
	if err := b.start(); err != nil {
		return err
	}
	if b.stop.stopping() {
		return ErrClosed
	}
	select {
	case <-b.node.reached:
		return nil
	case <-b.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		return unavailable("start", b.node.whileStarting(context.Cause(ctx)))
	}
}

// use starts the broker if need be, for a call that needs the bus, and waits for
// the bus to be reached the first time.
func (b *Broker) use(ctx context.Context) error {
	if err := b.start(); err != nil {
		return err
	}
	if b.stop.closed() {
		return ErrClosed
	}
	select {
	case <-b.node.reached:
		return nil
	default:
		return b.Start(ctx)
	}
}

func (b *Broker) start() error {
	b.startOnce.Do(func() { b.startErr = b.launchTasks() })
	return b.startErr
}

func (b *Broker) launchTasks() error {
	if err := b.cfg.err(); err != nil {
		return err
	}
	if !b.stop.begin() {
		return ErrClosed
	}
	b.tasks.Go(b.boot)
	return nil
}

// boot opens the log, which may take as long as the bus is away, and starts
// everything that needs it.
func (b *Broker) boot() {
	for attempt := 0; ; attempt++ {
		err := bounded(b.ctx, b.openLog)
		if err == nil {
			break
		}
		b.node.setLink(err)
		if b.ctx.Err() != nil {
			return
		}
		if attempt == 0 {
			b.cfg.logger.Warn("sseplane: could not open the log, trying again", "error", err)
		}
		sleep(b.ctx, backoff(attempt))
	}
	nodeID := randomID()
	b.publisher = newBatcher(b.log, nodeID, b.cfg.logger)
	b.roster = newRoster(b.log, nodeID, b.cfg, b.callbacks)
	b.roster.lapsed = b.lapsed
	b.roster.known = func() []backplane.Fact { return b.node.knownFacts(b.cfg.factTTL()) }
	b.roster.renewals = b.node.renewals
	b.roster.late = b.learnLate
	b.presence = newPresenceAsker(b.log)
	b.callbacks.settle = b.roster.settle
	b.node.changed = func(s *session) { b.roster.update(s, s.topicNames()) }

	follower := newFollower(b.node, b.log, b.cfg)
	follower.clients = b.factsOf
	follower.onBroken = b.broken
	follower.onMoved = b.roster.relist
	follower.onDeaf = func() { b.node.endAll(b.sendAway) }
	scanner := newScanner(b.node, b.log, b.cfg)
	clock := newClock(b.node, b.cfg)
	b.keeper = newKeeper(b.node, b.log, b.cfg, b.roster, b.callbacks)

	b.stop.publisher.Go(func() { b.publisher.run(b.ctx) })
	b.stop.roster.Go(func() { b.roster.run(b.ctx) })
	b.stop.callbacks.Go(func() { b.callbacks.run(b.ctx) })
	for _, run := range []func(context.Context){
		scanner.run, clock.run, b.keeper.run, b.presence.run, follower.runQuestions,
	} {
		b.tasks.Go(func() { run(b.ctx) })
	}
	follower.run(b.ctx) // closes node.reached, which publishes all of the above
}

// openLog opens the log. The bus may be the application's own, and panic.
func (b *Broker) openLog(ctx context.Context) error {
	return guarded(b.cfg.logger, "Open of the bus", func() error {
		log, err := b.cfg.backplane.Open(ctx, b.cfg.backplaneConfig())
		if err == nil && log == nil {
			err = errors.New("the bus has opened no log")
		}
		if err == nil {
			b.log = log
		}
		return err
	})
}

// factsOf reads what the cluster remembers of clients.
func (b *Broker) factsOf(ctx context.Context, clients []string) ([]backplane.Fact, error) {
	if len(clients) == 0 {
		return nil, nil
	}
	return b.log.Facts(ctx, clients...)
}

// lapsed starts a new life of this node, after others have taken it for dead and
// its sessions from it. The sessions are told to come back; they resume.
func (b *Broker) lapsed(nodeID string) {
	if b.roster.newLife(nodeID, randomID()) {
		b.cfg.logger.Warn("sseplane: this node was taken for dead; its sessions reconnect")
		b.node.newLife(b.sendAway)
	}
}

// sendAway ends a session that this node can not serve rightly any more.
func (b *Broker) sendAway(s *session) { s.end(ErrNodeLapsed, newFarewellFrame(b.retry())) }

// broken sends the sessions elsewhere, because this node can not go on.
func (b *Broker) broken(err error) {
	b.cfg.logger.Error("sseplane: can not follow the log any further", "error", err)
	b.node.refuse(err)
	b.node.endAll(func(s *session) { s.end(err, newFarewellFrame(b.retry())) })
}

// Ready returns nil when this node should be given connections: it has reached the
// bus once and is not draining. It is for the load balancer's readiness check; an
// outage of the bus does not change it, so that not all nodes drop out at once.
func (b *Broker) Ready() error {
	if err := b.start(); err != nil {
		return err
	}
	_, _, err := b.node.position()
	return err
}

// Healthy returns nil when the node follows the log, and else why not. It is for
// alarms.
func (b *Broker) Healthy() error {
	if err := b.start(); err != nil {
		return err
	}
	if b.stop.closed() {
		return ErrClosed
	}
	b.node.mu.Lock()
	defer b.node.mu.Unlock()
	switch err := b.node.link; {
	case err == nil, errors.Is(err, ErrIncompatible):
		return err
	default:
		return unavailable("follow the log", err)
	}
}

// SetDisconnectCallback sets the function that is called when a session has
// ended: once in the cluster per session, on the node that it was connected to, or,
// when that died, on any other: set it on all nodes. It runs on a goroutine of
// the broker's, one call at a time, and may call the broker. A node that dies inside
// the callback may cause a second call on another.
func (b *Broker) SetDisconnectCallback(f func(clientId string, sessionId string)) {
	b.callbacks.setDisconnected(f)
}
