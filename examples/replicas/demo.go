package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// demo is the whole of it: slots for replicas, a proxy in front of them, and a
// ticker.
type demo struct {
	slots  []*slot
	ticks  *ticker
	addr   string
	server *http.Server
	served chan struct{} // closed when the server has ended
	err    error         // why it ended; read after served
}

// startDemo starts everything and waits until the replicas are ready.
func startDemo(ctx context.Context, cfg config, bus backplane.Backplane, logger *slog.Logger) (*demo, error) {
	ln, err := net.Listen("tcp", cfg.listen)
	if err != nil {
		return nil, err
	}
	d := &demo{addr: ln.Addr().String(), served: make(chan struct{})}
	for i, name := range []string{"a", "b", "c"} {
		s := newSlot(name, nthAddress(cfg.listen, ln.Addr(), i+1), cfg, bus, logger)
		d.slots = append(d.slots, s)
		if err := s.start(); err != nil {
			_ = ln.Close()
			d.stop(cfg.drain)
			return nil, err
		}
	}
	for _, r := range d.running() {
		wait, cancel := context.WithTimeout(ctx, patience)
		if err := r.broker.Start(wait); err != nil {
			logger.Warn("the bus does not answer; the replicas keep trying", "node", r.name, "error", err)
		}
		cancel()
	}
	d.ticks = startTicker(cfg, logger, d.running)
	d.server = &http.Server{
		Handler:           sameOrigin(newControl(d.slots, newBalancer(d.running, logger))),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	go func() { // ends with the server; awaited in stop
		defer close(d.served)
		d.err = d.server.Serve(ln)
	}()
	return d, nil
}

// nthAddress is the address of the n-th replica: the n-th port after the page's, or
// any if that was for the system to choose.
func nthAddress(listen string, page net.Addr, n int) string {
	host, port, err := net.SplitHostPort(listen)
	if tcp, ok := page.(*net.TCPAddr); err == nil && ok && port != "0" && port != "" {
		return net.JoinHostPort(host, strconv.Itoa(tcp.Port+n))
	}
	return net.JoinHostPort(host, "0")
}

// running returns the replicas that are running and not draining.
func (d *demo) running() []*replica {
	var all []*replica
	for _, s := range d.slots {
		if r := s.running(); r != nil {
			all = append(all, r)
		}
	}
	return all
}

// stop drains what is running, all at once, and ends everything.
func (d *demo) stop(within time.Duration) error {
	if d.ticks != nil {
		d.ticks.stop()
	}
	var tasks sync.WaitGroup
	errs := make([]error, len(d.slots)+1)
	for i, s := range d.slots {
		tasks.Go(func() { errs[i] = s.close(within) })
	}
	tasks.Wait()
	if d.server != nil {
		// Streams have ended with their replicas; what is left is idle.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if d.server.Shutdown(ctx) != nil {
			_ = d.server.Close()
		}
		if <-d.served; !errors.Is(d.err, http.ErrServerClosed) {
			errs[len(d.slots)] = d.err
		}
	}
	return errors.Join(errs...)
}

// runDemo runs the demo until ctx ends.
func runDemo(ctx context.Context, cfg config, bus backplane.Backplane, logger *slog.Logger, stdout io.Writer) error {
	d, err := startDemo(ctx, cfg, bus, logger)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, webAddress(d.addr))
	for _, s := range d.slots {
		fmt.Fprintln(stdout, s.info().Address)
	}
	logger.Info("open the page in a browser, in several tabs", "page", webAddress(d.addr))
	select {
	case <-ctx.Done():
		logger.Info("draining", "within", cfg.drain)
	case <-d.served:
	}
	return d.stop(cfg.drain)
}
