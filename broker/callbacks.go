package broker

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// Hooks are called when clients come and go, each once in the whole cluster
// per occasion, except that a node that dies inside a hook may cause a second
// call on another node. They run one after the other on one goroutine of the broker,
// which survives their panics; they may call the broker, and should return
// soon. A nil hook is not called.
type Hooks struct {
	// SessionJoined: a session was registered, on this node.
	SessionJoined func(clientId, sessionId string)
	// SessionLeft: a session has ended, on this node or on one that died. It is the
	// same occasion as the disconnect callback.
	SessionLeft func(clientId, sessionId string)
	// ClientJoined: a client has its first session anywhere.
	ClientJoined func(clientId string)
	// ClientLeft: a client has had no session anywhere for the resume grace.
	ClientLeft func(clientId string)
}

// callbacks runs the application's functions, in order, on one goroutine.
type callbacks struct {
	logger *slog.Logger
	hooks  Hooks
	settle func(debt)
	signal chan struct{}

	mu           sync.Mutex // guards the rest
	queue        []callback
	leases       map[string]time.Time // of owners: until when they are certainly not taken for dead
	disconnected func(clientId, sessionId string)
	closed       bool
}

func newCallbacks(cfg *config) *callbacks {
	return &callbacks{logger: cfg.logger, hooks: cfg.hooks, signal: make(chan struct{}, 1), leases: make(map[string]time.Time)}
}

// leased says that the owner holds its lease until that time at least.
func (c *callbacks) leased(owner string, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leases[owner] = until
	signalFunc(c.signal)()
}

func (c *callbacks) setDisconnected(f func(clientId, sessionId string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disconnected = f
}

// callback is something to run.
type callback struct {
	run   func()
	owner string // whose debt it is; empty: nobody's
}

// debt is a callback that this node owes, under one of its ids.
type debt struct {
	backplane.Debt
	owner string
}

func (c *callbacks) enqueue(f callback) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, f)
	signalFunc(c.signal)()
}

// forgetDebts drops debts of the owner, which have become other nodes'.
func (c *callbacks) forgetDebts(owner string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = slices.DeleteFunc(c.queue, func(f callback) bool { return f.owner == owner })
	delete(c.leases, owner)
}

// next takes the first of the queue that may run now. A debt may not while its owner's lease
// could have lapsed: others may be paying it. The next renewal decides.
func (c *callbacks) next() (f callback, ok, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		c.queue = nil
		return callback{}, false, c.closed
	}
	now := time.Now()
	i := slices.IndexFunc(c.queue, func(f callback) bool { return f.owner == "" || now.Before(c.leases[f.owner]) })
	if i < 0 {
		return callback{}, false, false
	}
	f = c.queue[i]
	copy(c.queue[1:i+1], c.queue[:i])
	c.queue[0] = callback{}
	c.queue = c.queue[1:]
	return f, true, false
}

// sessionJoined and clientJoined announce; sessionEnded and clientLeft are debts,
// settled when the callbacks have returned.

func (c *callbacks) sessionJoined(client, session string) {
	if c.hooks.SessionJoined != nil {
		c.announce("SessionJoined", func() { c.hooks.SessionJoined(client, session) })
	}
}

func (c *callbacks) clientJoined(client string) {
	if c.hooks.ClientJoined != nil {
		c.announce("ClientJoined", func() { c.hooks.ClientJoined(client) })
	}
}

func (c *callbacks) announce(name string, f func()) {
	c.enqueue(callback{run: func() { c.call(name, f) }})
}

func (c *callbacks) pay(d debt) {
	c.enqueue(callback{owner: d.owner, run: func() {
		client, session := d.Session.Client, d.Session.ID
		switch d.Kind {
		case backplane.SessionEnded:
			c.mu.Lock()
			disconnected := c.disconnected
			c.mu.Unlock()
			if disconnected != nil {
				c.call("disconnect callback", func() { disconnected(client, session) })
			}
			if c.hooks.SessionLeft != nil {
				c.call("SessionLeft", func() { c.hooks.SessionLeft(client, session) })
			}
		case backplane.ClientLeft:
			if c.hooks.ClientLeft != nil {
				c.call("ClientLeft", func() { c.hooks.ClientLeft(client) })
			}
		}
		c.settle(d)
	}})
}

// call runs one function of the application and survives it.
func (c *callbacks) call(name string, f func()) {
	_ = guarded(c.logger, name, func() error { f(); return nil })
}

// insideCallback reports whether the calling goroutine is running one of the
// application's callbacks, of any broker: whether callbacks.call is on its stack.
func insideCallback() bool {
	pcs := make([]uintptr, 512)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "/broker.(*callbacks).call") {
			return true
		}
		if !more {
			return false
		}
	}
}

func (c *callbacks) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	signalFunc(c.signal)()
}

// run calls what is queued until callbacks is closed and empty, or ctx ends: what is
// still owed then is another node's to pay.
func (c *callbacks) run(ctx context.Context) {
	for ctx.Err() == nil {
		f, ok, over := c.next()
		switch {
		case ok:
			f.run()
		case over:
			return
		default:
			select {
			case <-c.signal:
			case <-ctx.Done():
			}
		}
	}
}
