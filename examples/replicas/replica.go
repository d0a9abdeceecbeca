package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/broker"
)

// Clients are told to come back soon: what is shown here is what happens then.
const (
	retry       = 250 * time.Millisecond
	retryJitter = 250 * time.Millisecond
)

// replica is one replica of a service: an HTTP server and a broker. It lives once;
// a restart is another replica at the same address.
type replica struct {
	name   string
	addr   string
	broker *broker.Broker
	bus    *mortal
	server *http.Server
	served chan struct{} // closed when the server has ended
	err    error         // why it ended; read after served
}

// startReplica serves at ln, which it closes in the end.
func startReplica(name string, ln net.Listener, cfg config, bus backplane.Backplane, logger *slog.Logger) (*replica, error) {
	r := &replica{name: name, addr: ln.Addr().String(), bus: newMortal(bus), served: make(chan struct{})}
	logger = slog.New(mortalHandler{logger.With("node", name).Handler(), r.bus.dead})
	r.broker = broker.NewBroker(nil,
		broker.WithBackplane(r.bus),
		broker.WithNodeName(name),
		broker.WithNamespace(cfg.namespace),
		broker.WithRetention(cfg.retention, 64<<20),
		broker.WithWindow(cfg.window),
		broker.WithLease(cfg.lease),
		broker.WithMaxEventSize(maxEvent),
		broker.WithRetry(retry, retryJitter),
		broker.WithLogger(logger),
	)
	gone := new(disconnects)
	r.broker.SetDisconnectCallback(func(client, session string) {
		if r.bus.dead.Err() != nil {
			return // a dead process runs nothing
		}
		gone.add(client, session)
		logger.Info("disconnected", "client", client, "session", session)
	})
	if err := r.broker.Ready(); errors.Is(err, broker.ErrInvalidOption) { // Ready also starts it
		_ = ln.Close()
		return nil, err
	}
	r.server = &http.Server{
		Handler:           newAPI(name, r.broker, gone),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	go func() { // ends with the server; awaited in wait
		defer close(r.served)
		r.err = r.server.Serve(ln)
	}()
	return r, nil
}

// ready reports whether the replica wants requests.
func (r *replica) ready() bool { return r.broker.Ready() == nil }

// drain sends the clients elsewhere and ends the replica, within the time given. It
// goes on listening while it drains: who comes meanwhile is told to come back.
func (r *replica) drain(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	// Who takes nothing any more, not even a goodbye, is cut off while there is time for the
	// rest: the broker has told all others by then.
	stuck := time.AfterFunc(within*9/10, func() { _ = r.server.Close() })
	defer stuck.Stop()
	err := r.broker.Shutdown(ctx)
	if e := r.server.Shutdown(ctx); e != nil {
		_ = r.server.Close()
		err = cmpErr(err, e)
	}
	r.wait()
	if err != nil {
		return fmt.Errorf("replica %s was not drained within %v: %w", r.name, within, err)
	}
	return nil
}

// die ends the replica as a crash does: from one moment to the next nothing of it
// reaches the bus, and its connections break.
func (r *replica) die() {
	r.bus.kill()
	_ = r.server.Close()
	// What is left are goroutines of this process. They have nothing to wait for.
	ctx, cancel := context.WithDeadline(context.Background(), time.Now())
	defer cancel()
	_ = r.broker.Shutdown(ctx)
	_ = r.broker.Close()
	r.wait()
}

func (r *replica) wait() {
	<-r.served
	r.bus.kill() // releases its context
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// runReplica runs one replica until ctx ends, and drains it.
func runReplica(ctx context.Context, cfg config, bus backplane.Backplane, logger *slog.Logger, stdout io.Writer) error {
	ln, err := net.Listen("tcp", cfg.listen)
	if err != nil {
		return err
	}
	r, err := startReplica(cfg.node, ln, cfg, bus, logger)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, webAddress(r.addr))
	ticks := startTicker(cfg, logger, func() []*replica { return []*replica{r} })
	defer ticks.stop()
	select {
	case <-ctx.Done():
	case <-r.served:
		_ = r.broker.Close()
		return r.err
	}
	logger.Info("draining", "node", r.name, "within", cfg.drain)
	ticks.stop()
	return r.drain(cfg.drain)
}

// webAddress is what to type into a browser.
func webAddress(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}
