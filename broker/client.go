package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// Client is what the application says of a connection.
type Client struct {
	// ID names the client: a user, a device, a tab. A client may have several
	// connections, on several nodes. Required; at most 1024 bytes of UTF-8.
	ID string
	// Topics that the connection follows, and resumes. They are names like ID, at
	// most 1000 of them.
	Topics []string
	// Metadata of the client, if not nil: as [Broker.SetClientMetadata].
	Metadata ClientMetadata
	// Expires is when the connection is closed, unless it is zero.
	Expires time.Time
}

// ClientMetadata is what the application wants to remember of a client. It travels as
// JSON: numbers come back as float64.
type ClientMetadata = map[string]any

// ConnectOption says more about one connection. A nil one is ignored.
type ConnectOption interface{ applyConnect(*connectConfig) }

type connectOption func(*connectConfig)

func (f connectOption) applyConnect(c *connectConfig) { f(c) }

type connectConfig struct {
	client    Client
	heartbeat time.Duration
	since     cursor
	reauth    *reauthorization
	err       error
}

// FollowTopics adds topics to those that the connection follows.
func FollowTopics(topics ...string) ConnectOption {
	return connectOption(func(c *connectConfig) { c.client.Topics = append(c.client.Topics, topics...) })
}

// Metadata sets the client's metadata.
func Metadata(m ClientMetadata) ConnectOption {
	return connectOption(func(c *connectConfig) { c.client.Metadata = m })
}

// Expires closes the connection at that time, unless it is zero. The client reconnects, and
// is identified anew. It is for Connect and Serve: as an option of [Broker.Handler] it would be one
// moment for all connections, where [Client.Expires] is each one's own.
func Expires(at time.Time) ConnectOption {
	return connectOption(func(c *connectConfig) { c.client.Expires = at })
}

// Reauthorize calls check every so often while the connection lives, and closes it
// when that returns an error. The context ends when the next check is due. Checks run on
// goroutines of the broker, one at a time for a connection. At least 10 ms.
func Reauthorize(every time.Duration, check func(context.Context) error) ConnectOption {
	return connectOption(func(c *connectConfig) {
		if every < 10*time.Millisecond || check == nil {
			c.err = fmt.Errorf("%w: Reauthorize: every %v, at least 10ms, with a function", ErrInvalidOption, every)
			return
		}
		c.reauth = &reauthorization{every: every, check: check, next: time.Now().Add(every)}
	})
}

// Since starts a connection that comes without a Last-Event-ID in the past: with the
// events of that last time, as far as the log still has them.
func Since(d time.Duration) ConnectOption {
	return connectOption(func(c *connectConfig) {
		if d <= 0 {
			c.err = fmt.Errorf("%w: Since: %v, more than 0", ErrInvalidOption, d)
		}
		c.since = cursor{since: min(d, maxDuration)}
	})
}

// SincePosition starts a connection that comes without a Last-Event-ID behind a
// position, as that of [Broker.Position]. It is treated as a Last-Event-ID. The zero
// Position, which comes with an error of Broker.Position, is an [ErrInvalidOption]: it is no place,
// and what was published meanwhile would be missing.
func SincePosition(p Position) ConnectOption {
	return connectOption(func(c *connectConfig) {
		if p.Epoch == "" {
			c.err = fmt.Errorf("%w: SincePosition: the zero Position is no place", ErrInvalidOption)
		}
		c.since = cursor{pos: p}
	})
}

func heartbeatEvery(d time.Duration) ConnectOption {
	return connectOption(func(c *connectConfig) { c.heartbeat = d })
}

// maxTopics bounds the topics that one connection can name.
const maxTopics = 1000

// validate checks what the application said, and returns the metadata as JSON.
func (c *connectConfig) validate(maxMetadata int) (metadata []byte, err error) {
	if c.err != nil {
		return nil, c.err
	}
	if err := backplane.ValidName(c.client.ID); err != nil {
		return nil, invalidName("client", err)
	}
	if len(c.client.Topics) > maxTopics {
		return nil, invalidName("topics", errors.New("more than 1000 are named"))
	}
	for _, topic := range c.client.Topics {
		if err := backplane.ValidName(topic); err != nil {
			return nil, invalidName("topic", err)
		}
	}
	if c.client.Metadata == nil {
		return nil, nil
	}
	return encodeMetadata(c.client.Metadata, maxMetadata)
}

func encodeMetadata(m ClientMetadata, limit int) ([]byte, error) {
	if m == nil {
		m = ClientMetadata{}
	}
	value, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("broker: metadata: %w", err)
	}
	if len(value) > limit {
		return nil, fmt.Errorf("%w: metadata of %d bytes, limit %d", ErrEventTooLarge, len(value), limit)
	}
	return value, nil
}

// ClientConnection is one open connection.
type ClientConnection struct {
	session *session
	broker  *Broker
}

// Id returns the id of the client.
func (c *ClientConnection) Id() string { return c.session.client }

// SessionId returns the id of this connection, unique in the cluster.
func (c *ClientConnection) SessionId() string { return c.session.id }

// LastEventID returns what the connection came with as its Last-Event-ID; empty if
// it did not resume.
func (c *ClientConnection) LastEventID() string { return c.session.resumed }

// Done is closed when the connection has ended and nothing is written to it any
// more. The HTTP handler must not return before.
func (c *ClientConnection) Done() <-chan struct{} { return c.session.done }

// Err returns why the connection ended: [ErrClientGone], [ErrDisconnected],
// [ErrExpired], [ErrSlowSession], [ErrDraining], [ErrNodeLapsed] or another. It is nil before Done is closed.
func (c *ClientConnection) Err() error {
	select {
	case <-c.session.done:
		return c.session.reason()
	default:
		return nil
	}
}

// Send writes an event to this connection alone, outside the log: it has no id
// (one of the author's is left out), is not replayed, and does not move the
// connection's position. It does not wait for the client: [ErrSlowSession] when 128
// such events are waiting already. After the end it returns why the connection ended.
func (c *ClientConnection) Send(event Event) error {
	block, err := c.broker.block(event)
	if err != nil {
		return err
	}
	return c.session.sendDirect(&frame{bytes: block.Bytes})
}

// Join makes this connection follow topics from now on. They are not resumed unless
// the next connection names them. It does not wait for the bus.
func (c *ClientConnection) Join(topics ...string) error {
	return c.changeTopics(topics, func(n *node, s *session) bool {
		s.noteOwn(topics, n.pos)
		return n.joinTopics(s, topics, n.pos.Seq)
	})
}

// Leave makes this connection leave topics. What has not been written yet of their events
// is dropped.
func (c *ClientConnection) Leave(topics ...string) error {
	return c.changeTopics(topics, func(n *node, s *session) bool {
		s.noteOwn(topics, n.pos)
		return n.leaveTopics(s, topics)
	})
}

func (c *ClientConnection) changeTopics(topics []string, change func(*node, *session) bool) error {
	for _, topic := range topics {
		if err := backplane.ValidName(topic); err != nil {
			return invalidName("topic", err)
		}
	}
	s := c.session
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	if err := s.reason(); err != nil || s.state == stateEnded {
		return cmpErr(err, ErrClosed)
	}
	if len(s.subs)+len(topics) > 2*maxTopics {
		return invalidName("topics", errors.New("the connection follows too many"))
	}
	if change(s.node, s) {
		s.node.changed(s)
	}
	return nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// Close ends the connection; Err is then [ErrDisconnected] with the reason. A
// client that reconnects is welcome.
func (c *ClientConnection) Close(reason string) { c.session.end(disconnected(reason)) }

func disconnected(reason string) error {
	if reason == "" {
		return ErrDisconnected
	}
	return fmt.Errorf("%w: %s", ErrDisconnected, reason)
}
