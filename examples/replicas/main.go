// Command replicas shows what sseplane is for: a service that runs as several
// replicas, and streams that do not notice it.
//
//	go run ./examples/replicas
//
// starts three replicas in one process, each with an HTTP server and a broker of its
// own, on a bus in memory; in front of them a small proxy that sends each request to
// the next replica that is ready, and a page. It prints the address of the page, then
// that of each replica.
//
//	go run ./examples/replicas -node a -listen :8080 -redis redis://localhost:6379
//
// starts one replica alone; several of them meet on the bus.
//
// # The interface of a replica
//
//	GET  /events?client=ID&topic=A&topic=B  the stream; no client: a random one. hello=1: first an
//	                                        event "hello" with {"client","session","node"}
//	POST /broadcast                         the body is the data of an event to everyone
//	POST /send/{client}                     … to a client; 404 for one that is nowhere
//	POST /publish/{topic}                   … to a topic. All three: ?event=TYPE&key=KEY (idempotency);
//	                                        answer {"position":"..."}, or 503 after 5 s without the bus
//	GET  /presence                          [{"client","metadata","sessions":[{"id","node"}]}]
//	GET  /presence/{client}                 one of them; 404 for a client that is nowhere
//	PUT  /metadata/{client}                 the body is a JSON object
//	POST /join/{client}/{topic}             and /leave/{client}/{topic}
//	POST /disconnect/{client}               ends all its sessions
//	GET  /disconnects                       what the disconnect callback was called with, here: ask a
//	                                        replica's own address, not the page's
//	GET  /healthz                           200 while it follows the bus, else 503
//	GET  /readyz                            200 while it wants connections, else 503
//	GET  /stats
//
// At the address of the page, of the whole demo, there are besides
//
//	GET  /demo/replicas                     the replicas, and which of them run
//	POST /demo/replicas/{name}/stop         and /kill, /start
//
// Names in paths are percent-encoded, slashes too. Errors are {"error":"a sentence"}.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does not wait for the drain
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2) // the flag package has said why
	default:
		fmt.Fprintln(os.Stderr, "replicas:", err)
		os.Exit(1)
	}
}

// run starts what the arguments say, prints where it is, and drains it when ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := parseConfig(args, stderr)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	bus, closeBus, err := cfg.bus.open(logger)
	if err != nil {
		return err
	}
	defer closeBus()
	if cfg.node != "" {
		return runReplica(ctx, cfg, bus, logger, stdout)
	}
	return runDemo(ctx, cfg, bus, logger, stdout)
}
