package broker

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/sseplane/sseplane/backplane"
)

// presenceAsker asks the register who is there: one question at a time, for all
// callers that have come meanwhile.
type presenceAsker struct {
	log    backplane.Log
	signal chan struct{}

	mu      sync.Mutex // guards pending
	pending map[string]*presenceQuestion
}

type presenceQuestion struct {
	done     chan struct{}
	presence backplane.Presence
	err      error
}

func newPresenceAsker(log backplane.Log) *presenceAsker {
	return &presenceAsker{log: log, signal: make(chan struct{}, 1), pending: make(map[string]*presenceQuestion)}
}

func (a *presenceAsker) ask(ctx context.Context, client string) (backplane.Presence, error) {
	a.mu.Lock()
	q := a.pending[client]
	if q == nil {
		q = &presenceQuestion{done: make(chan struct{})}
		a.pending[client] = q
		signalFunc(a.signal)()
	}
	a.mu.Unlock()
	select {
	case <-q.done:
		return q.presence, q.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func (a *presenceAsker) run(ctx context.Context) {
	for {
		select {
		case <-a.signal:
		case <-ctx.Done(): // so do all who wait
			return
		}
		a.answer(func(clients []string) (presence []backplane.Presence, err error) {
			err = bounded(ctx, func(ctx context.Context) error {
				presence, err = a.log.Presence(ctx, clients...)
				return err
			})
			return presence, err
		})
	}
}

func (a *presenceAsker) answer(do func(clients []string) ([]backplane.Presence, error)) {
	a.mu.Lock()
	questions := a.pending
	a.pending = make(map[string]*presenceQuestion)
	a.mu.Unlock()
	if len(questions) == 0 {
		return
	}
	clients := make([]string, 0, len(questions))
	for client := range questions {
		clients = append(clients, client)
	}
	presence, err := do(clients)
	for i, client := range clients {
		q := questions[client]
		if q.err = err; err == nil {
			q.presence = presence[i]
		}
		close(q.done)
	}
}

// hasClient reports whether the client has a session on this node.
func (n *node) hasClient(client string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.clients[client]
	return c != nil && len(c.sessions) > 0
}

// requireKnown returns a *UnknownClientError for a client that is nowhere.
func (b *Broker) requireKnown(ctx context.Context, client string) error {
	if err := b.use(ctx); err != nil {
		return err
	}
	if b.node.hasClient(client) {
		return nil
	}
	presence, err := b.askFor(ctx, client)
	switch {
	case err != nil:
		return unavailable("look for the client", err)
	case presence == backplane.Absent:
		return NewUnknownClientError(client)
	}
	return nil
}

// askFor asks the register for the presence of a client.
func (b *Broker) askFor(ctx context.Context, client string) (backplane.Presence, error) {
	ctx, cancel := b.whileOpen(ctx)
	defer cancel()
	return b.presence.ask(ctx, client)
}

// requireListed is requireKnown for what the register is to remember of the client: it
// waits until the register knows of the client's sessions on this node, because for it a
// client begins with the first of them.
func (b *Broker) requireListed(ctx context.Context, client string) error {
	if err := b.use(ctx); err != nil {
		return err
	}
	waiting, cancel := b.whileOpen(ctx)
	defer cancel()
	if err := b.roster.await(waiting, b.node.sessionsOf(client)); err != nil {
		return unavailable("list the client", err)
	}
	return b.requireKnown(ctx, client)
}

// whileOpen returns a context that ends with ctx, and with the broker: for waiting for what
// the broker's own goroutines do.
func (b *Broker) whileOpen(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(b.ctx, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

func (n *node) sessionsOf(client string) []*session {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.clients[client]; c != nil {
		return slices.Clone(c.sessions)
	}
	return nil
}

// IsClientPresent reports whether the client has a connection anywhere in the
// cluster. It waits up to 5 seconds for the bus, and answers from this node's
// connections when the bus does not.
func (b *Broker) IsClientPresent(clientId string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if backplane.ValidName(clientId) != nil || b.use(ctx) != nil {
		return false
	}
	if b.node.hasClient(clientId) {
		return true
	}
	presence, err := b.askFor(ctx, clientId)
	return err == nil && presence == backplane.Present
}

// Session is one connection somewhere in the cluster.
type Session struct {
	ID       string
	ClientID string
	// NodeName is that of the node it is connected to ([WithNodeName]).
	NodeName string
	// Topics that it follows.
	Topics []string
}

// Sessions returns the connections of a client, on all nodes. It blocks until
// the bus has answered or ctx ends: then it is [ErrUnavailable].
func (b *Broker) Sessions(ctx context.Context, clientId string) ([]Session, error) {
	if err := backplane.ValidName(clientId); err != nil {
		return nil, invalidName("client", err)
	}
	var all []Session
	for s, err := range b.sessions(ctx, clientId) {
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// AllSessions returns the connections of all clients on all nodes, those of one client
// next to each other, reading from the bus page by page. An error ends the iteration.
func (b *Broker) AllSessions(ctx context.Context) iter.Seq2[Session, error] {
	return b.sessions(ctx)
}

func (b *Broker) sessions(ctx context.Context, clients ...string) iter.Seq2[Session, error] {
	return func(yield func(Session, error) bool) {
		if err := b.use(ctx); err != nil {
			yield(Session{}, err)
			return
		}
		for s, err := range b.log.Sessions(ctx, clients...) {
			if err != nil {
				yield(Session{}, unavailable("read the register", err))
				return
			}
			if !yield(Session{ID: s.ID, ClientID: s.Client, NodeName: s.NodeName, Topics: s.Topics}, nil) {
				return
			}
		}
	}
}

// Clients returns the ids of all connected clients, each once, reading from the bus page
// by page. An error ends the iteration.
func (b *Broker) Clients(ctx context.Context) iter.Seq2[string, error] {
	return b.clientsWhere(ctx, func(Session) bool { return true })
}

// Members returns the ids of the clients that have a connection which follows
// the topic, each once. It goes through all sessions of the cluster, page by page. A
// connection is listed with its new topics a moment after it has joined or left them.
// An error ends the iteration; a topic that can not be one is [ErrInvalidName].
func (b *Broker) Members(ctx context.Context, topic string) iter.Seq2[string, error] {
	if err := backplane.ValidName(topic); err != nil {
		return func(yield func(string, error) bool) { yield("", invalidName("topic", err)) }
	}
	return b.clientsWhere(ctx, func(s Session) bool {
		for _, t := range s.Topics {
			if t == topic {
				return true
			}
		}
		return false
	})
}

func (b *Broker) clientsWhere(ctx context.Context, match func(Session) bool) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		last, any := "", false
		for s, err := range b.sessions(ctx) {
			if err != nil {
				yield("", err)
				return
			}
			if any && s.ClientID == last || !match(s) {
				continue
			}
			last, any = s.ClientID, true
			if !yield(s.ClientID, nil) {
				return
			}
		}
	}
}
