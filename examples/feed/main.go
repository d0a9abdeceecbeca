// Command feed tails any endpoint of Server-Sent Events: coloured on a terminal, a JSON object per line when piped.
//
//	go run ./examples/feed https://example.com/events
//	go run ./examples/feed -H "Authorization: Bearer x" -type price http://localhost:8080/events | jq .data
//
// It reconnects by itself and continues after the last event it has seen.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sseplane/sseplane/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, terminal, os.Getenv("NO_COLOR") == ""))
}

type settings struct {
	eventType string
	count     int
	comments  bool
	json      bool
	verbose   bool
	urls      []string
	options   []client.Option
}

// run returns the exit status: 0 when the server said that there is no more, or the user stopped it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, terminal, colour bool) int {
	s, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	var out printer = &lines{w: stdout, paint: paint(terminal && colour)}
	if s.json || !terminal {
		out = newJSONLines(stdout)
	}
	if err := tail(ctx, s, out, stderr); err != nil {
		fmt.Fprintln(stderr, "feed:", visible(err.Error()))
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("feed", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: feed [flags] URL [URL of another replica]...")
		flags.PrintDefaults()
	}
	flags.StringVar(&s.eventType, "type", "", "show events of this `type` only; message also means those without a type")
	flags.IntVar(&s.count, "n", 0, "stop after this `number` of events")
	flags.BoolVar(&s.comments, "comments", false, "show comments, such as heartbeats, too")
	flags.BoolVar(&s.json, "json", false, "write JSON lines also to a terminal")
	flags.BoolVar(&s.verbose, "v", false, "tell on standard error about connections")
	flags.Func("H", "send a `header`, \"Name: value\"; may be repeated", func(v string) error {
		name, value, ok := strings.Cut(v, ":")
		if !ok {
			return errors.New(`want "Name: value"`)
		}
		s.options = append(s.options, client.WithHeader(strings.TrimSpace(name), strings.TrimSpace(value)))
		return nil
	})
	flags.Func("id", "continue after this event `id`", func(v string) error {
		s.options = append(s.options, client.WithLastEventID(v))
		return nil
	})
	flags.Func("data", "POST this `body`", func(v string) error {
		s.options = append(s.options, client.WithMethod(http.MethodPost), client.WithBody([]byte(v)))
		return nil
	})
	flags.Func("idle", "reconnect after a silence of this `duration` (default 5m)", func(v string) error {
		d, err := time.ParseDuration(v)
		s.options = append(s.options, client.WithIdleTimeout(d))
		return err
	})
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if s.urls = flags.Args(); len(s.urls) == 0 {
		flags.Usage()
		return s, errors.New("no URL")
	}
	return s, nil
}

func tail(ctx context.Context, s settings, out printer, stderr io.Writer) error {
	options := append(s.options, client.WithURLs(s.urls[1:]...))
	if !s.verbose {
		options = append(options, client.WithErrorHook(func(err error) {
			fmt.Fprintln(stderr, "feed:", visible(err.Error()))
		}))
	} else { // the log has the errors too
		options = append(options, client.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	}
	if s.comments {
		options = append(options, client.WithCommentHook(func(c string) { out.comment(c) }))
	}
	stream, err := client.Open(ctx, s.urls[0], options...)
	if err != nil {
		return err
	}
	defer stream.Close()
	n := 0
	for e, err := range stream.Events() {
		if err != nil {
			if errors.Is(err, client.ErrNoContent) || ctx.Err() != nil {
				return nil
			}
			return err
		}
		if !wanted(s.eventType, e.GetEvent()) {
			continue
		}
		if err := out.event(e); err != nil {
			return err
		}
		if n++; n == s.count {
			return nil
		}
	}
	return nil
}

func wanted(filter, eventType string) bool {
	return filter == "" || filter == eventType || filter == "message" && eventType == ""
}
