package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/sse"
)

// Position is a place in the log of events, written to clients as the SSE id of
// an event. It is opaque: print it, compare it with ==, parse it with
// [ParsePosition], connect from it with [SincePosition].
type Position = backplane.Position

// ParsePosition reads what [Position.String] wrote.
func ParsePosition(s string) (Position, error) { return backplane.ParsePosition(s) }

// PublishOption changes how one event is published. A nil one is ignored.
type PublishOption interface{ applyPublish(*publishConfig) }

type publishConfig struct {
	key       string
	ephemeral bool
	except    []string
}

type publishOption func(*publishConfig)

func (f publishOption) applyPublish(c *publishConfig) { f(c) }

// IdempotencyKey makes the event count once per audience within the idempotency
// window ([WithIdempotencyWindow]), from whichever node it is published: a
// repeat is not an error, publishes nothing, and returns the first position. The empty
// key is none.
func IdempotencyKey(key string) PublishOption {
	return publishOption(func(c *publishConfig) { c.key = key })
}

// Ephemeral makes the event one for those who are connected and caught up now:
// it has no id (an id of the author's is left out), is never replayed, and is
// dropped when it is older than 10 seconds.
func Ephemeral() PublishOption {
	return publishOption(func(c *publishConfig) { c.ephemeral = true })
}

// Except leaves out one session, as a rule that of the sender. Given several times, up
// to 1000, it leaves out all of them. The empty session id is none.
func Except(sessionId string) PublishOption {
	return publishOption(func(c *publishConfig) {
		if sessionId != "" {
			c.except = append(c.except, sessionId)
		}
	})
}

// defaultPublishTimeout is how long calls without a context wait for the bus.
const defaultPublishTimeout = 5 * time.Second

// Publish appends an event to the log, for everyone in the audience, wherever
// they are connected, and returns its position. It blocks until the bus has
// accepted the event or ctx ends.
//
// When it returns nil the event will be delivered as the package promises. An
// error that is [ErrUnavailable] leaves open whether the bus accepted it: a
// repeat with the same [IdempotencyKey] counts once. [ErrEventTooLarge],
// [ErrInvalidEvent], [ErrInvalidName] and [ErrClosed] mean that nothing was published.
//
// Publish does not ask whether anybody is there; Send does. The event is encoded before
// Publish returns and not retained. An event without data (a comment) is ephemeral.
func (b *Broker) Publish(ctx context.Context, to Audience, event sse.Event, options ...PublishOption) (Position, error) {
	var c publishConfig
	for _, o := range options {
		if o != nil {
			o.applyPublish(&c)
		}
	}
	if err := b.start(); err != nil {
		return Position{}, err
	}
	m, err := b.encode(to, event, c)
	if err != nil {
		return Position{}, err
	}
	if err := b.use(ctx); err != nil {
		return Position{}, err
	}
	pos, err := b.publisher.publish(ctx, m)
	if err != nil {
		return Position{}, err
	}
	b.counters.published.Add(1)
	return pos, nil
}

// Broadcast publishes an event to everyone. It waits up to 5 seconds for the
// bus; [Broker.Publish] waits as long as its context.
func (b *Broker) Broadcast(event sse.Event, options ...PublishOption) error {
	ctx, cancel := context.WithTimeout(context.Background(), defaultPublishTimeout)
	defer cancel()
	_, err := b.Publish(ctx, Everyone(), event, options...)
	return err
}

// Send publishes an event to all sessions of a client. A client that has no session
// anywhere is a [*UnknownClientError], unless its last one ended less than the
// resume grace ago: then the event waits for it in the log. Send waits up to 5 seconds
// for the bus.
func (b *Broker) Send(clientId string, event sse.Event, options ...PublishOption) error {
	ctx, cancel := context.WithTimeout(context.Background(), defaultPublishTimeout)
	defer cancel()
	_, err := b.SendContext(ctx, clientId, event, options...)
	return err
}

// SendContext is Send with a context, and returns the position.
func (b *Broker) SendContext(ctx context.Context, clientId string, event sse.Event, options ...PublishOption) (Position, error) {
	if err := backplane.ValidName(clientId); err != nil {
		return Position{}, invalidName("client", err)
	}
	if err := b.requireKnown(ctx, clientId); err != nil {
		return Position{}, err
	}
	return b.Publish(ctx, ToClient(clientId), event, options...)
}

// encode makes a message of an event, or says why that is impossible.
func (b *Broker) encode(to Audience, ev sse.Event, c publishConfig) (backplane.Message, error) {
	if err := to.validate(); err != nil {
		return backplane.Message{}, err
	}
	block, err := b.block(ev)
	if err != nil {
		return backplane.Message{}, err
	}
	e := event{to: to, except: strings.Join(c.except, exceptSeparator), ephemeral: c.ephemeral || !block.HasData, block: block.Bytes}
	if !e.ephemeral {
		e.authorID = block.ID
	}
	if !validID(e.authorID) {
		return backplane.Message{}, fmt.Errorf("%w: id %q reads as a position", ErrInvalidEvent, e.authorID)
	}
	if len(c.except) > maxAudience {
		return backplane.Message{}, invalidName("excepted sessions", errors.New("more than 1000 are named"))
	}
	for _, id := range c.except {
		if len(id) > backplane.MaxNameLen {
			return backplane.Message{}, fmt.Errorf("%w: excepted session id of %d bytes", ErrInvalidName, len(id))
		}
	}
	return backplane.Message{Key: to.scopedKey(c.key), Data: encodeEvent(e)}, nil
}

// block encodes an event for the stream, without its id.
func (b *Broker) block(ev sse.Event) (sse.Block, error) {
	block, err := sse.NewBlock(ev)
	switch {
	case err != nil:
		return block, fmt.Errorf("%w: %w", ErrInvalidEvent, err)
	case len(block.Bytes)+len(block.ID) > b.cfg.maxEvent:
		return block, fmt.Errorf("%w: %d bytes, limit %d", ErrEventTooLarge, len(block.Bytes)+len(block.ID), b.cfg.maxEvent)
	case block.HasData && block.Event == b.cfg.resetEvent:
		return block, fmt.Errorf("%w: the event name %q is the broker's own", ErrInvalidEvent, block.Event)
	}
	return block, nil
}

// publishControl appends a control entry.
func (b *Broker) publishControl(ctx context.Context, c control) (Position, error) {
	return b.publisher.publish(ctx, backplane.Message{Data: encodeControl(c)})
}

// Position returns the end of the log: everything that any node had published when
// Position was called lies at or before it. Take it before you read state, and connect
// from it ([SincePosition]), and nothing falls between the two. It asks the
// bus, and blocks until that answers or ctx ends.
func (b *Broker) Position(ctx context.Context) (Position, error) {
	if err := b.use(ctx); err != nil {
		return Position{}, err
	}
	bounds, err := b.log.Bounds(ctx)
	if err != nil {
		return Position{}, unavailable("read the end of the log", err)
	}
	return bounds.Last, nil
}
