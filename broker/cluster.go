package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sseplane/sseplane/backplane"
)

// Join makes all sessions of a client, on all nodes, follow topics: those that
// are open, from this moment on, and those that it opens until it has been
// away for the resume grace. A client that is nowhere is a [*UnknownClientError]. It
// blocks until the bus has accepted it or ctx ends; an error that is [ErrUnavailable]
// leaves open whether it happened, and Join can be repeated.
func (b *Broker) Join(ctx context.Context, clientId string, topics ...string) error {
	if err := b.checkTopics(ctx, clientId, topics); err != nil || len(topics) == 0 {
		return err
	}
	before, err := b.topicFacts(ctx, clientId)
	if err != nil {
		return err
	}
	op := newOp()
	facts := make([]backplane.Fact, len(topics))
	for i, topic := range topics {
		m := membershipOf(before[topic]) // its beginning must not be lost
		facts[i] = b.topicFact(clientId, topic, membership{joined: true, pending: true, op: op, since: m.since})
	}
	pos, err := b.announce(ctx, facts, control{op: opJoin, client: clientId, topics: topics, value: []byte(op)})
	if err != nil {
		return err
	}
	// Again, after pos: who has joined the client meanwhile was first.
	if before, err = b.topicFacts(ctx, clientId); err != nil {
		return err
	}
	for i, topic := range topics {
		facts[i] = b.topicFact(clientId, topic, membershipOf(before[topic]).joinedAgain(op, pos))
	}
	return b.conclude(ctx, facts, pos)
}

// Leave makes all sessions of a client, on all nodes, leave topics, in whichever way
// they came to follow them. What was not written yet of their events is dropped. Its errors
// are those of Join.
func (b *Broker) Leave(ctx context.Context, clientId string, topics ...string) error {
	if err := b.checkTopics(ctx, clientId, topics); err != nil || len(topics) == 0 {
		return err
	}
	op := newOp()
	facts := make([]backplane.Fact, len(topics))
	for i, topic := range topics {
		facts[i] = b.topicFact(clientId, topic, membership{pending: true, op: op})
	}
	pos, err := b.announce(ctx, facts, control{op: opLeave, client: clientId, topics: topics, value: []byte(op)})
	if err != nil {
		return err
	}
	for i, topic := range topics {
		facts[i] = b.topicFact(clientId, topic, membership{op: op})
	}
	return b.conclude(ctx, facts, pos)
}

func (b *Broker) checkTopics(ctx context.Context, client string, topics []string) error {
	if err := b.validClient(client); err != nil {
		return err
	}
	if len(topics) > maxTopics {
		return invalidName("topics", errors.New("more than 1000 are named"))
	}
	for _, topic := range topics {
		if err := backplane.ValidName(topic); err != nil {
			return invalidName("topic", err)
		}
	}
	if len(topics) == 0 {
		return nil
	}
	return b.requireListed(ctx, client)
}

func (b *Broker) topicFact(client, topic string, m membership) backplane.Fact {
	return backplane.Fact{Client: client, Kind: backplane.FactTopic, Name: topic, Value: m.encode(), TTL: b.cfg.factTTL()}
}

// topicFacts returns what the register has of a client's topics.
func (b *Broker) topicFacts(ctx context.Context, client string) (map[string]backplane.Fact, error) {
	facts, err := b.log.Facts(ctx, client)
	if err != nil {
		return nil, unavailable("read the register", err)
	}
	topics := make(map[string]backplane.Fact)
	for _, f := range facts {
		if f.Kind == backplane.FactTopic {
			topics[f.Name] = f
		}
	}
	return topics, nil
}

// announce writes facts to the register and tells the nodes; conclude writes them
// again with the position of that: who connects in between finds them in the register,
// or hears of them. (The first write has no version, so that it wins over what is
// there, and never over what comes later.)
func (b *Broker) announce(ctx context.Context, facts []backplane.Fact, c control) (Position, error) {
	if len(facts) > 0 {
		if err := b.log.Put(ctx, facts); err != nil {
			return Position{}, unavailable("write the register", err)
		}
	}
	return b.publishControl(ctx, c)
}

func (b *Broker) conclude(ctx context.Context, facts []backplane.Fact, pos Position) error {
	for i := range facts {
		facts[i].Version = pos
	}
	if err := b.log.Put(ctx, facts); err != nil {
		return unavailable("write the register", err)
	}
	return nil
}

// Disconnect ends all sessions of a client, on all nodes, also those that are just
// being opened. Nodes that are cut off from the bus do it when they hear of it. A client that
// reconnects later is welcome, if the application lets it in. It blocks until the bus has
// accepted it or ctx ends: [ErrUnavailable] leaves open whether it happened.
//
// The reason, which may be empty, becomes part of [ClientConnection.Err] and of what Serve
// returns, on the nodes of the sessions; it is not sent to the client. A client that is
// nowhere is no error.
func (b *Broker) Disconnect(ctx context.Context, clientId, reason string) error {
	if err := b.validClient(clientId); err != nil {
		return err
	}
	if err := b.use(ctx); err != nil {
		return err
	}
	// The facts are for nodes that find the entry trimmed when they come back. An empty
	// value says that the entry may be there already.
	value := []byte(newOp() + reason)
	facts := []backplane.Fact{{
		Client: clientId, Kind: backplane.FactDisconnect, TTL: b.cfg.retention + 2*b.cfg.lease,
	}}
	pos, err := b.announce(ctx, facts, control{op: opDisconnect, client: clientId, value: value})
	if err != nil {
		return err
	}
	facts[0].Value = value
	return b.conclude(ctx, facts, pos)
}

// disconnectReason returns what follows the nonce in the value of a disconnect.
func disconnectReason(value []byte) string {
	if len(value) < opNonce {
		return ""
	}
	return string(value[opNonce:])
}

func (b *Broker) validClient(client string) error {
	if err := backplane.ValidName(client); err != nil {
		return invalidName("client", err)
	}
	return nil
}

// SetClientMetadata sets what the cluster remembers of a client, in place of what
// it remembered. It lives as long as the client has a connection anywhere, plus the
// resume grace. A client that is nowhere is a [*UnknownClientError]. It waits up to
// 5 seconds for the bus.
func (b *Broker) SetClientMetadata(clientId string, metadata map[string]any) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := b.validClient(clientId); err != nil {
		return err
	}
	if err := b.start(); err != nil {
		return err
	}
	value, err := encodeMetadata(metadata, b.cfg.maxEvent)
	if err != nil {
		return err
	}
	if err := b.requireListed(ctx, clientId); err != nil {
		return err
	}
	return b.setMetadata(ctx, clientId, value, nil)
}

// setMetadata sets the metadata unless the facts say that it is the same already.
func (b *Broker) setMetadata(ctx context.Context, client string, value []byte, known []backplane.Fact) error {
	for _, f := range known {
		if f.Kind == backplane.FactMetadata && string(f.Value) == string(value) && !f.Version.IsZero() {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	facts := []backplane.Fact{{Client: client, Kind: backplane.FactMetadata, Value: value, TTL: b.cfg.factTTL()}}
	pos, err := b.announce(ctx, facts, control{op: opMetadata, client: client, value: value})
	if err != nil {
		return err
	}
	return b.conclude(ctx, facts, pos)
}

// GetClientMetadata returns what the cluster remembers of a client: an empty map if
// it is connected and nothing was set. A client that is nowhere is a [*UnknownClientError].
// It waits up to 5 seconds for the bus, and answers from this node's copy, if
// there is one, when the bus does not.
func (b *Broker) GetClientMetadata(clientId string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := b.validClient(clientId); err != nil {
		return nil, err
	}
	if err := b.requireKnown(ctx, clientId); err != nil {
		return nil, err
	}
	facts, err := b.log.Facts(ctx, clientId)
	if err != nil {
		local, ok := b.node.localMetadata(clientId)
		if !ok {
			return nil, unavailable("read the register", err)
		}
		return decodeMetadata(local)
	}
	for _, f := range facts {
		if f.Kind == backplane.FactMetadata {
			return decodeMetadata(f.Value)
		}
	}
	return ClientMetadata{}, nil
}

func (n *node) localMetadata(client string) (value []byte, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.clients[client]
	if c == nil || len(c.sessions) == 0 {
		return nil, false
	}
	return c.facts[factKey{backplane.FactMetadata, ""}].Value, true
}

func decodeMetadata(value []byte) (ClientMetadata, error) {
	m := ClientMetadata{}
	if len(value) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(value, &m); err != nil {
		return nil, fmt.Errorf("broker: metadata: %w", err)
	}
	return m, nil
}
