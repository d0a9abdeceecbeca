package redisbus

import (
	"context"
	"errors"
	"slices"
)

// Places among the arguments of publish.lua.
const (
	followedArg = 7 // the epoch that the node follows
	acceptedArg = 8 // epoch, number and time of the batch that was accepted last
)

// errLacks is why a server has not got the batch: it lacks the one that was accepted before.
var errLacks = errors.New("redisbus: the server lacks what another had accepted of this node")

// publishOnce has a server append the batch, if it is at the epoch that this node follows and has
// what was accepted of the producer before. If it has not, another server took that, which is no
// longer, or never was, the primary. The numbers of entries do not show it, because both servers went on from the
// same end; and were anything appended behind such a hole, later replies would not show it either.
func (l *log) publishOnce(ctx context.Context, args []any) ([]any, error) {
	args = slices.Clone(args) // an earlier attempt may be using them still
	args[followedArg] = l.followed.Load().name()
	if last, ok := l.lastAccepted(args[0].(string)); ok {
		args[acceptedArg], args[acceptedArg+1], args[acceptedArg+2] = last.epoch, last.number, last.at
	}
	reply, err := l.send(ctx, args)
	if err == nil && reply[0] == int64(3) {
		epoch := args[acceptedArg].(string)
		l.lost.Store(&epoch)
		if args[followedArg] != "" {
			l.look()
			return nil, errLacks // until the node has moved to another epoch
		}
		args = slices.Clone(args)
		args[acceptedArg] = ""
		reply, err = l.send(ctx, args) // nobody follows yet; who does will be told
	}
	if err == nil && reply[0] == int64(2) {
		l.look()
		return nil, errOtherEpoch
	}
	return reply, err
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
	at       uint64 // when, by the server's clock, in microseconds
}

// field is where servers remember the producer. There may be no batch yet.
func (a *acceptedBatch) field() string {
	if a == nil {
		return ""
	}
	return "by " + a.producer
}

// missing reports whether a server, of which the state was asked after the batch had been accepted,
// has not got it, and has not forgotten it after its time.
func (a *acceptedBatch) missing(s state) bool {
	return a != nil && a.epoch == s.epoch && s.batch < a.number && (s.batch > 0 || a.at > s.forgot)
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
