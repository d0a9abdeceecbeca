package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

// errUsage: the arguments are wrong, and the user has been told.
var errUsage = errors.New("usage")

// config is what the flags say.
type config struct {
	node      string // empty: the whole demo
	listen    string
	namespace string
	retention time.Duration
	window    int
	lease     time.Duration
	drain     time.Duration
	tick      time.Duration
	bus       busConfig
}

// demoTick is how often the whole demo ticks.
const demoTick = 400 * time.Millisecond

func parseConfig(args []string, stderr io.Writer) (config, error) {
	var c config
	f := flag.NewFlagSet("replicas", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&c.node, "node", "", "start one replica alone, under this `name`, or @ for that of the host (default: three, a proxy and a page)")
	f.StringVar(&c.listen, "listen", "localhost:8080", "`address` of the page or of the replica; the demo's replicas take the ports after it")
	f.StringVar(&c.namespace, "namespace", "replicas", "`name` that keeps these events apart from others on the bus")
	f.DurationVar(&c.retention, "retention", 10*time.Minute, "how long the bus keeps events")
	f.IntVar(&c.window, "window", 32<<20, "how much of the newest events a replica keeps in memory, in `bytes`")
	f.DurationVar(&c.lease, "lease", 5*time.Second, "after what time without a sign of life a replica is taken for dead")
	f.DurationVar(&c.drain, "drain", 10*time.Second, "how long a replica may take to say goodbye, on SIGTERM")
	f.DurationVar(&c.tick, "tick", demoTick, `how often a numbered event goes to the topic "ticks", 0 for never (default with -node: 0)`)
	c.bus.register(f)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return c, err
		}
		return c, errUsage
	}
	if c.node == "@" {
		name, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("-node @: %w", err)
		}
		c.node = name
	}
	ticking := false
	f.Visit(func(f *flag.Flag) { ticking = ticking || f.Name == "tick" })
	if c.node != "" && !ticking {
		c.tick = 0
	}
	if err := c.check(f.Args()); err != nil {
		fmt.Fprintf(stderr, "%v\n", err)
		f.Usage()
		return c, errUsage
	}
	return c, nil
}

// check looks at what the broker's own options do not.
func (c *config) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case c.drain < 0:
		return fmt.Errorf("invalid value %v for flag -drain: less than 0", c.drain)
	case c.tick < 0:
		return fmt.Errorf("invalid value %v for flag -tick: less than 0", c.tick)
	}
	return c.bus.check()
}
