package redisbus

import (
	"context"
	"errors"
)

// errOtherEpoch is why a server that is not at the epoch that this node follows has not got
// the batch. Either the node is about to hear of that epoch, or the commands lead to another
// server than the follower's: what that one accepts may be lost, and nobody would be told.
var errOtherEpoch = errors.New("redisbus: the server is not at the epoch that this node follows")

// followed is the epoch that this node follows, or moves to.
type followed struct {
	epoch string
	over  bool // its Follow has ended by itself; the node moves to what Bounds and NewEpoch say
}

// name returns the epoch that a server has to be at to be published to; empty: any.
func (f *followed) name() string {
	if f == nil {
		return ""
	}
	return f.epoch
}

// follows notes that the node begins to follow an epoch.
func (l *log) follows(epoch string) *followed {
	f := &followed{epoch: epoch}
	l.followed.Store(f)
	return f
}

// followsNoMore notes that it does not: because it does not want to, or because it can not go on there. Then
// it publishes to no other epoch until it is known which one comes next.
func (l *log) followsNoMore(ctx context.Context, present *followed, over bool) {
	if !over {
		l.followed.CompareAndSwap(present, nil)
		return
	}
	next := &followed{present.epoch, true}
	if l.followed.CompareAndSwap(present, next) {
		if s, err := l.leader(ctx); err == nil {
			l.moves(s.epoch)
		}
	}
}

// moves notes at which epoch the servers are.
func (l *log) moves(epoch string) {
	f := l.followed.Load()
	if f != nil && f.over && epoch != "" && epoch != f.epoch {
		l.followed.CompareAndSwap(f, &followed{epoch, true})
	}
}
