package natsbus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How a source keeps a consumer. A consumer has one copy, in the memory of a server
// drawn at random, so it is lost with that server, and made again here. Short
// timeouts and a new name for each try are what makes that fast: the draw may
// fall on a server that has just died.
const (
	createTimeoutMin = 250 * time.Millisecond
	createTimeoutMax = time.Second
	pullHeartbeat    = 500 * time.Millisecond // two missing: the consumer is dead
	pullExpiry       = 5 * time.Second
	pullMessages     = 2000
	inactiveFor      = 10 * time.Second
	// refuseFor is for how long no consumer is taken on a server that was deaf.
	refuseFor = 20 * time.Second
)

var (
	errDeaf     = errors.New("natsbus: the consumer's server does not hear of what is stored")
	errRefused  = errors.New("natsbus: the consumer was placed on a server that was deaf")
	errLost     = errors.New("natsbus: a delivery was lost")
	errDropped  = errors.New("natsbus: the connection changed")
	errDiffers  = errors.New("natsbus: the log has another message at the anchor")
	errNoAnchor = errors.New("natsbus: the consumer's server does not have the anchor")
)

// run follows the stream until ctx ends or it is impossible to go on.
func (s *source) run(ctx context.Context) {
	var p pause
	tries := 0
	deaf := make(map[string]time.Time) // until when a server is refused
	for {
		if s.link.await(ctx) != nil {
			s.fail(ctx.Err())
			return
		}
		made, err := s.consume(ctx, min(createTimeoutMin<<min(tries, 4), createTimeoutMax), deaf)
		if ctx.Err() != nil {
			s.fail(ctx.Err())
			return
		}
		s.setTrouble(err)
		if errors.Is(err, errDiffers) || errors.Is(err, errNoAnchor) || errors.Is(err, errHole) {
			err = s.judge(ctx, err)
		}
		if err != nil && !transient(err) {
			s.fail(err)
			return
		}
		if made {
			p, tries = 0, 0
		} else {
			tries++
			if errors.Is(err, nats.ErrNoResponders) || code(err) == codeStreamNotFound {
				s.missing()
			}
		}
		s.bridge(ctx)
		if p.wait(ctx) != nil {
			s.fail(ctx.Err())
			return
		}
	}
}

// judge finds out why a consumer could not continue the log.
func (s *source) judge(ctx context.Context, why error) error {
	attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	at, _, _ := s.anchor()
	trimmed, err := s.verdict(attempt, at)
	switch {
	case err == nil && trimmed:
		s.setBare()
		return nil
	case err == nil:
		return why
	}
	return err
}

// consume makes a consumer and takes what it delivers until there is trouble.
// It returns whether the consumer could be made.
func (s *source) consume(ctx context.Context, timeout time.Duration, deaf map[string]time.Time) (made bool, err error) {
	select {
	case <-s.kicks: // meant the one before
	default:
	}
	changed, down := s.link.state()
	if down != nil {
		return false, down
	}
	number := s.begin()
	_, start, anchored := s.anchor()
	name := rand.Text()
	create, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	sent := time.Now()
	consumer, err := s.link.js.CreateConsumer(create, s.stream, jetstream.ConsumerConfig{
		Name:              name,
		Description:       "sseplane: a node follows",
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       start,
		AckPolicy:         jetstream.AckNonePolicy,
		MaxDeliver:        1,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: inactiveFor,
	})
	// Whatever the answer was, or if there was none, a consumer may be left over.
	defer s.remove(name)
	if err != nil {
		return false, fmt.Errorf("natsbus: consumer: %w", s.link.explain(err, sent))
	}
	info := consumer.CachedInfo()
	host := ""
	if info.Cluster != nil {
		host = info.Cluster.Leader
	}
	if time.Now().Before(deaf[host]) {
		return false, errRefused
	}
	if anchored && info.NumPending == 0 {
		return false, errNoAnchor
	}

	delivery := delivery{source: s, number: number, anchored: anchored, trouble: make(chan error, 1)}
	consuming, err := consumer.Consume(delivery.take,
		jetstream.PullMaxMessagesWithBytesLimit(pullMessages, int(max(sourceBytes, 2*s.link.nc.MaxPayload()))),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.PullExpiry(pullExpiry),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { delivery.report(err) }))
	if err != nil {
		return true, err
	}
	defer func() {
		s.begin() // releases a delivery that waits for room
		consuming.Stop()
		<-consuming.Closed()
	}()
	s.setReached()
	select {
	case err := <-delivery.trouble:
		return delivery.proved.Load(), err
	case err := <-s.kicks:
		if errors.Is(err, errDeaf) && host != "" {
			deaf[host] = time.Now().Add(refuseFor)
		}
		return true, err
	case <-changed:
		return true, errDropped
	case <-ctx.Done():
		return true, ctx.Err()
	}
}

// remove deletes a consumer, without waiting: should that fail, it goes by itself.
func (s *source) remove(name string) {
	_ = s.link.nc.Publish(apiPrefix+"CONSUMER.DELETE."+s.stream+"."+name, nil)
}

// delivery takes what one consumer delivers.
type delivery struct {
	source   *source
	number   int
	anchored bool
	seq      uint64 // of the consumer, the last that came
	proved   atomic.Bool
	trouble  chan error
}

func (d *delivery) report(err error) {
	select {
	case d.trouble <- err:
	default:
	}
}

// take is called with one message after the other.
func (d *delivery) take(msg jetstream.Msg) {
	m, seq, err := parseDelivery(msg)
	if err == nil && seq != d.seq+1 {
		err = errLost
	}
	if err != nil {
		d.report(err)
		return
	}
	d.seq = seq
	if d.seq == 1 {
		if d.anchored {
			if err := d.source.anchorCame(m); err != nil {
				d.report(err)
				d.number = 0 // nothing more from this one
				return
			}
		}
		d.proved.Store(true)
	}
	d.source.log.clock.saw(m.time)
	if ok, err := d.source.accept(d.number, m); err != nil {
		d.report(err)
	} else if !ok {
		d.number = 0
	}
}

// anchorCame checks the first message of a consumer that began at the anchor.
func (s *source) anchorCame(m stored) error {
	at, start, _ := s.anchor()
	if m.seq > start {
		if m.seq == start+1 {
			s.setBare()
			return nil
		}
		return errHole
	}
	d, err := m.decode()
	if err != nil {
		return err
	}
	if !at.is(&d) {
		return errDiffers
	}
	s.restore(m)
	return nil
}

// parseDelivery reads what the server says of a message in its reply subject,
// which nobody but the server can write:
// $JS.ACK[.<domain>.<account>].<stream>.<consumer>.<tries>.<sequence>.<consumer's sequence>.<time>.<pending>[.<token>]
func parseDelivery(msg jetstream.Msg) (m stored, consumerSeq uint64, err error) {
	reply := msg.Reply()
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	skip := 3 // to the sequence
	if strings.Count(rest, ".") >= 8 {
		skip = 5
	}
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	seq, rest, _ := strings.Cut(rest, ".")
	own, rest, _ := strings.Cut(rest, ".")
	at, _, found := strings.Cut(rest, ".")
	if !ok || !found {
		return m, 0, fmt.Errorf("natsbus: delivery without metadata: %q", reply)
	}
	m.seq, err = strconv.ParseUint(seq, 10, 64)
	if err == nil {
		consumerSeq, err = strconv.ParseUint(own, 10, 64)
	}
	if err == nil {
		m.time, err = strconv.ParseInt(at, 10, 64)
	}
	m.payload = msg.Data()
	return m, consumerSeq, err
}

// bridgeTimeout bounds one read of the bridge.
const bridgeTimeout = time.Second

// bridge reads on from any server while there is no consumer: to make one takes
// the leader of the whole cluster, up to 9 s after that one's death. It takes what
// it gets only as far as it continues the log. It also passes over foreign messages
// that the client's library takes for a status of its consumer (an empty one with
// such a header), at which every consumer would end.
func (s *source) bridge(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, bridgeTimeout)
	defer cancel()
	number := s.begin()
	for {
		at, start, anchored := s.anchor()
		run, err := s.log.run(ctx, s.stream, start, readBatch)
		if err != nil || len(run) == 0 || run[0].seq != start {
			return
		}
		if anchored {
			d, err := run[0].decode()
			if err != nil || !at.is(&d) {
				return
			}
			s.restore(run[0])
		}
		for _, m := range run {
			if ok, err := s.accept(number, m); err != nil || !ok {
				return
			}
		}
		if len(run) == 1 {
			return // nothing behind the anchor
		}
	}
}
