package redisbus

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
)

const (
	// EntryOverhead is what an entry counts for in RetentionBytes besides its data.
	EntryOverhead = 64
	// MaxEntry is the size of the largest entry that the bus takes, in bytes.
	MaxEntry = 64 << 20
	// maxBatch keeps one command below what Redis accepts from one client.
	maxBatch = 512 << 20
)

// ErrReplicas is what a publish returns when too few replicas confirmed it in
// time; see [WithReplicas].
var ErrReplicas = errors.New("redisbus: too few replicas confirmed")

// Publish implements [backplane.Log]. When ctx ends while the server is silent it may take a second to return.
func (l *log) Publish(ctx context.Context, b backplane.Batch) ([]backplane.Position, error) {
	size, err := validBatch(b)
	if err != nil {
		return nil, err
	}
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	defer l.work.Done()

	args := l.publishArgs(b, size)
	timeout := callTimeout + time.Duration(size>>20)*100*time.Millisecond + l.bus.opts.replicaWait
	publish := func(ctx context.Context) ([]any, error) { return l.publishOnce(ctx, b.Producer, b.Number, args) }
	start := time.Now()
	reply, err := l.publishHere(ctx, size, publish)
	if err != nil {
		start = time.Now()
		reply, err = do(ctx, l, "publish", timeout, publish)
	}
	l.quick.Store(err == nil && time.Since(start) < quickReply)
	if err != nil {
		if strings.Contains(err.Error(), "invalid bulk length") || strings.Contains(err.Error(), "too large to be stored") {
			return nil, fmt.Errorf("%w: %w", backplane.ErrTooLarge, err)
		}
		return nil, err
	}
	if reply[0] == int64(0) {
		return nil, fmt.Errorf("redisbus: publish: batch %d of %q: %w", b.Number, b.Producer, backplane.ErrOldBatch)
	}
	kept, _ := reply[0].(string)
	accepted, words, err := parseAccepted(b.Producer, kept)
	if err != nil {
		return nil, fmt.Errorf("redisbus: publish: %w", err)
	}
	positions, err := parsePositions(words, len(b.Messages))
	if err != nil {
		return nil, fmt.Errorf("redisbus: publish: %w", err)
	}
	for i := range positions {
		l.ack(positions[i])
	}
	l.accepted(accepted)
	return positions, nil
}

const (
	// quickReply is how soon a server has answered that publishHere asks.
	quickReply = 20 * time.Millisecond
	// quickBytes is how large a batch may be.
	quickBytes = 256 << 10
)

var errNotHere = errors.New("redisbus: this is for a worker")

// publishHere publishes in the goroutine of the caller, which saves two changes of goroutines, if the server has
// answered quickly of late. If it does not now, a caller whose context ends is held for callTimeout at most. What fails here
// is to be repeated by a worker.
func (l *log) publishHere(ctx context.Context, size int, publish func(context.Context) ([]any, error)) ([]any, error) {
	if !l.quick.Load() || size > quickBytes || l.bus.opts.replicas > 0 {
		return nil, errNotHere
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return publish(ctx)
}

func validBatch(b backplane.Batch) (size int, _ error) {
	if err := backplane.ValidName(b.Producer); err != nil {
		return 0, fmt.Errorf("redisbus: producer: %w", err)
	}
	if b.Number == 0 || len(b.Messages) == 0 {
		return 0, fmt.Errorf("redisbus: publish: batch %d of %d messages", b.Number, len(b.Messages))
	}
	for i := range b.Messages {
		n := len(b.Messages[i].Data)
		if n > MaxEntry {
			return 0, fmt.Errorf("redisbus: publish: entry of %d bytes: %w", n, backplane.ErrTooLarge)
		}
		size += n
	}
	if size > maxBatch {
		return 0, fmt.Errorf("redisbus: publish: batch of %d bytes: %w", size, backplane.ErrTooLarge)
	}
	return size, nil
}

const (
	// chunkBytes is how large an element of the stream gets, unless one message is larger: whoever
	// keeps a message keeps its chunk.
	chunkBytes = 16 << 10
	// lengthSize is what stands in front of each message in its chunk: its length.
	lengthSize = 4
)

// limits is what publish.lua is told of the configuration, behind the name of an epoch.
func limits(cfg backplane.Config, ttl time.Duration) string {
	return fmt.Sprintf(" %d %d %d %d", micros(cfg.RetentionAge), cfg.RetentionBytes, micros(cfg.IdempotencyWindow), ttl.Milliseconds())
}

// publishArgs packs the messages into chunks. It copies the data: an attempt
// that was given up may still be writing it when Publish has returned.
func (l *log) publishArgs(b backplane.Batch, size int) []any {
	data := make([]byte, 0, size+lengthSize*len(b.Messages))
	args := make([]any, 0, 16)
	args = append(args, producerField(b.Producer), strconv.FormatUint(b.Number, 10), "", "", newEpoch()+l.limits)
	// The log is trimmed chunk by chunk, and must not be trimmed of much at a time.
	limit := int(min(chunkBytes, l.cfg.RetentionBytes/128))
	from, count, weight := 0, 0, 0
	flush := func(key string) {
		if count > 0 {
			args = append(args, key, count, weight, data[from:len(data):len(data)])
		}
		from, count, weight = len(data), 0, 0
	}
	for i := range b.Messages {
		m := &b.Messages[i]
		if m.Key != "" || weight+len(m.Data)+EntryOverhead > limit {
			flush("")
		}
		data = binary.BigEndian.AppendUint32(data, uint32(len(m.Data)))
		data = append(data, m.Data...)
		count++
		weight += len(m.Data) + EntryOverhead
		if m.Key != "" {
			flush(m.Key)
		}
	}
	flush("")
	return args
}

// publishAndWait publishes and waits for the replicas on one connection: WAIT
// is about what its own connection has written.
func (l *log) publishAndWait(ctx context.Context, args []any) ([]any, error) {
	server, err := l.server(ctx)
	if err != nil {
		return nil, err
	}
	o := &l.bus.opts
	var confirmed *redis.Cmd
	reply, err := publishScript.pipelined(ctx, server.WithTimeout(callTimeout+o.replicaWait), l.keys.ofPublish(), args, func(p redis.Pipeliner) {
		confirmed = p.Do(ctx, "wait", o.replicas, o.replicaWait.Milliseconds())
	})
	if err != nil {
		return nil, err
	}
	if n, err := confirmed.Int(); err != nil {
		return nil, err
	} else if n < o.replicas && accepts(reply) {
		return nil, fmt.Errorf("%w: %d of %d within %v", ErrReplicas, n, o.replicas, o.replicaWait)
	}
	return reply, nil
}

// ack remembers the highest position that this node was given: it must never be
// missing from the log that this node follows.
func (l *log) ack(p backplane.Position) {
	for {
		was := l.acked.Load()
		if was != nil && was.Epoch == p.Epoch && was.Seq >= p.Seq {
			return
		}
		if was != nil && was.Epoch != p.Epoch && was.Seq > p.Seq {
			return // numbers go on from epoch to epoch: p is of an older one
		}
		if l.acked.CompareAndSwap(was, &p) {
			return
		}
	}
}

// parsePositions reads what publish.lua returns for n messages.
func parsePositions(text string, n int) ([]backplane.Position, error) {
	positions := make([]backplane.Position, 0, n)
	for word := range strings.SplitSeq(text, " ") {
		epoch, rest, ok := strings.Cut(word, ".")
		first, count, many := strings.Cut(rest, "+")
		seq, err := strconv.ParseUint(first, 10, 64)
		length := 1
		if many && err == nil {
			length, err = strconv.Atoi(count)
		}
		if !ok || err != nil || length < 1 || len(positions)+length > n {
			return nil, fmt.Errorf("the reply %.80q is not %d positions", text, n)
		}
		for i := range length {
			positions = append(positions, backplane.Position{Epoch: epoch, Seq: seq + uint64(i)})
		}
	}
	if len(positions) != n {
		return nil, fmt.Errorf("the reply %.80q is not %d positions", text, n)
	}
	return positions, nil
}

const epochLen = 10

// newEpoch returns a name for an epoch that nobody has had: 51 random bits.
func newEpoch() string {
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"
	var b [epochLen]byte
	_, _ = rand.Read(b[:]) // it never fails
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b[:])
}

func micros(d time.Duration) int64 { return max(1, d.Microseconds()) }
