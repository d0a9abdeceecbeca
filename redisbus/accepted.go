package redisbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Places among the arguments of publish.lua.
const (
	followedArg = 2 // the epoch that the node follows
	acceptedArg = 3 // the batch of the producer that was accepted last
	limitsArg   = 4 // the name of an epoch, and the limits of the log
)

// errLacks is why a server has not got the batch: it lacks the one that was accepted before.
var errLacks = errors.New("redisbus: the server lacks what another had accepted of this node")

// publishOnce has a server append the batch, if it is at the epoch that this node follows and has
// what was accepted of the producer before. If it has not, another server took that, which is no
// longer, or never was, the primary. The numbers of entries do not show it, because both servers went on from the
// same end; and were anything appended behind such a hole, later replies would not show it either.
func (l *log) publishOnce(ctx context.Context, producer string, number uint64, args []any) ([]any, error) {
	args = slices.Clone(args) // an earlier attempt may be using them still
	args[followedArg] = l.followed.Load().name()
	last, known := l.lastAccepted(producer)
	if newest := l.newest.Load(); !known && newest != nil {
		// The node goes on under another name. What was accepted of it under the one before is not asked about again.
		s, err := l.leader(ctx)
		if err != nil {
			return nil, err
		}
		if s.lost && l.misses(s.epoch, args) {
			return nil, errLacks
		}
	}
	if known {
		args[acceptedArg] = last.before(number)
		if last.epoch != args[followedArg] {
			args[limitsArg] = fmt.Sprint(args[limitsArg], " ", time.Since(last.heard).Microseconds())
		}
	}
	reply, err := l.send(ctx, args)
	if err == nil && reply[0] == int64(3) && len(reply) == 2 {
		epoch, _ := reply[1].(string)
		if l.misses(epoch, args) {
			return nil, errLacks
		}
		args = slices.Clone(args)
		args[acceptedArg] = ""
		reply, err = l.send(ctx, args)
	}
	if err == nil && reply[0] == int64(2) {
		l.look()
		return nil, errOtherEpoch
	}
	return reply, err
}

// misses notes that something is gone of what an epoch should have. It reports whether a publish has to wait until the node has
// moved to another one; while nobody follows it need not, and who does later will be told.
func (l *log) misses(epoch string, args []any) bool {
	l.lost.Store(&epoch)
	if args[followedArg] == "" {
		return false
	}
	l.look()
	return true
}

func (l *log) send(ctx context.Context, args []any) ([]any, error) {
	if l.bus.opts.replicas > 0 {
		return l.publishAndWait(ctx, args)
	}
	return publishScript.run(ctx, l.commands, l.keys.ofPublish(), args...)
}

// look makes the follower compare servers at once.
func (l *log) look() {
	select {
	case l.doubt <- struct{}{}:
	default:
	}
}

// acceptedBatch is a batch that a server has accepted.
type acceptedBatch struct {
	producer string
	number   uint64
	epoch    string
	at       uint64    // when, by the server's clock, in microseconds
	heard    time.Time // when its reply came
}

// field is where servers remember the producer. There may be no batch yet.
func (a *acceptedBatch) field() string {
	if a == nil {
		return ""
	}
	return producerField(a.producer)
}

func producerField(producer string) string { return "by " + producer }

// before returns what publish.lua is told of the batch when another one with a number is published: what servers
// remember of it, up to its positions, and a mark if the number is not a higher one.
func (a *acceptedBatch) before(number uint64) string {
	mark := ""
	if number <= a.number {
		mark = " "
	}
	return mark + a.epoch + " " + strconv.FormatUint(a.number, 10) + " " + strconv.FormatUint(a.at, 10) + " "
}

// parseAccepted reads what servers remember of a batch: "epoch number time positions".
func parseAccepted(producer, kept string) (_ acceptedBatch, positions string, _ error) {
	words := strings.SplitN(kept, " ", 4)
	if len(words) != 4 {
		return acceptedBatch{}, "", fmt.Errorf("unexpected reply %.80q", kept)
	}
	number, err := strconv.ParseUint(words[1], 10, 64)
	at, err2 := strconv.ParseUint(words[2], 10, 64)
	if err := errors.Join(err, err2); err != nil {
		return acceptedBatch{}, "", fmt.Errorf("unexpected reply %.80q: %w", kept, err)
	}
	return acceptedBatch{producer, number, words[0], at, time.Now()}, words[3], nil
}

// accepts tells whether a reply of publish.lua says that the batch was accepted.
func accepts(reply []any) bool {
	_, ok := reply[0].(string)
	return ok
}

// missing reports whether a server, of which the state was asked after the batch had been accepted,
// has not got it, and has not forgotten it after its time. An epoch that began when the batch had been accepted
// has announced to all that something is gone. Of one that had begun before, on another server than that of the batch, those who
// follow it have heard before there was anything to miss.
func (a *acceptedBatch) missing(s state, asked time.Time) bool {
	if a == nil || s.epoch == "" || s.batch >= a.number || s.batch == 0 && a.at <= s.forgot {
		return false
	}
	age := s.now.Sub(s.since)
	return a.epoch == s.epoch || age < 0 || age > asked.Sub(a.heard)
}

// accepted notes what was accepted last of a producer.
func (l *log) accepted(a acceptedBatch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.number <= l.batches[a.producer].number {
		return
	}
	if len(l.batches) > 100 {
		clear(l.batches) // a node has one or two
	}
	l.batches[a.producer] = a
	l.newest.Store(&a)
}

func (l *log) lastAccepted(producer string) (acceptedBatch, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.batches[producer]
	return a, ok
}
