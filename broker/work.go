package broker

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/sseplane/sseplane/backplane"
)

// defaultRosterBatch bounds one batch of the register.
const defaultRosterBatch = 500

// work is one batch.
type work struct {
	nodeID     string
	adds, ends []*listing
	sessions   []backplane.Session // of adds and ends, as they were when taken
	debts      []debt
	facts      []backplane.Fact
}

func (w *work) empty() bool {
	return len(w.adds)+len(w.ends)+len(w.debts)+len(w.facts) == 0
}

// next takes the next batch. There is none before the node has a lease.
func (r *roster) next() (w work, closed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.leased {
		return work{}, r.closed
	}
	w.nodeID = r.nodeID
	w.adds, r.adds = takeUpTo(r.adds, r.batch)
	w.ends, r.ends = takeUpTo(r.ends, r.batch)
	w.debts, r.debts = takeUpTo(r.debts, r.batch)
	w.facts, r.facts = takeUpTo(r.facts, r.batch)
	for _, l := range w.adds {
		l.dirty = false
		w.sessions = append(w.sessions, l.session)
	}
	for _, l := range w.ends { // should the bus have lost it, it is still owed
		w.sessions = append(w.sessions, l.session)
	}
	return w, r.closed
}

func takeUpTo[T any](list []T, n int) (taken, rest []T) {
	if len(list) <= n {
		return list, nil
	}
	return list[:n:n], list[n:]
}

// run writes batches until the roster is closed and all is written, or ctx ends.
func (r *roster) run(ctx context.Context) {
	for attempt := 0; ; {
		w, closed := r.next()
		if w.empty() {
			if r.finished() && closed {
				return
			}
			select {
			case <-r.signal:
			case <-ctx.Done():
				return
			}
			continue
		}
		err := bounded(ctx, func(ctx context.Context) error { return r.write(ctx, &w) })
		if err == nil {
			attempt = 0
			continue
		}
		if errors.Is(err, backplane.ErrSwept) {
			r.lapsed(w.nodeID)
		}
		r.putBack(w)
		if ctx.Err() != nil || errors.Is(err, backplane.ErrClosed) {
			return
		}
		if errors.Is(err, backplane.ErrSwept) {
			continue
		}
		if attempt == 0 {
			r.logger.Warn("sseplane: writing the register failed, trying again", "error", err)
		}
		sleep(ctx, backoff(attempt))
		attempt++
	}
}

// finished reports whether nothing is left to write, and tells those who wait for it.
// It is called between batches.
func (r *roster) finished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.adds)+len(r.ends)+len(r.debts)+len(r.facts) > 0 {
		return false
	}
	for _, c := range r.idle {
		close(c)
	}
	r.idle = nil
	return true
}

// flush waits until everything queued so far has been written, or ctx ends.
func (r *roster) flush(ctx context.Context) {
	idle := make(chan struct{})
	r.mu.Lock()
	r.idle = append(r.idle, idle)
	signalFunc(r.signal)()
	r.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// write writes one batch, tells those concerned, and takes out of the batch what
// has been written.
func (r *roster) write(ctx context.Context, w *work) error {
	if len(w.facts) > 0 {
		if err := r.putFacts(ctx, w.facts); err != nil {
			return err
		}
		w.facts = nil
	}
	if len(w.debts) > 0 {
		if err := r.settleAll(ctx, w.debts); err != nil {
			return err
		}
		w.debts = nil
	}
	if len(w.adds)+len(w.ends) == 0 {
		return nil
	}
	ends := make([]string, len(w.ends))
	for i, l := range w.ends {
		ends[i] = l.session.ID
	}
	result, err := r.log.Update(ctx, w.nodeID, w.sessions, ends)
	if err != nil {
		return err
	}
	for _, l := range r.registeredBatch(*w, result) {
		r.late(l.owner, l.facts, l.absent)
	}
	return nil
}

// putFacts writes facts that have been waiting, perhaps for long: what the register
// has by now may be newer.
func (r *roster) putFacts(ctx context.Context, facts []backplane.Fact) error {
	var clients []string
	for _, f := range facts {
		clients = append(clients, f.Client)
	}
	slices.Sort(clients)
	registered, err := r.log.Facts(ctx, slices.Compact(clients)...)
	if err != nil {
		return err
	}
	return r.log.Put(ctx, r.renewals(facts, registered))
}

// registeredBatch takes over the result of a batch, and returns the listings that
// nobody has waited for.
func (r *roster) registeredBatch(w work, result backplane.UpdateResult) (late []*listing) {
	absent := w.absentUntil(result.Joined)
	joined := make(map[string]bool, len(result.Joined)) // and not announced yet
	for _, client := range result.Joined {
		joined[client] = true
	}
	facts := make(map[string][]backplane.Fact)
	for _, f := range result.Facts {
		facts[f.Client] = append(facts[f.Client], f)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nodeID != w.nodeID {
		return nil // another life has begun meanwhile
	}
	for _, l := range w.adds {
		client := l.session.Client
		l.queued = false
		if l.state == listingNew {
			l.state = listingLive
			l.absent = absent[client]
			l.facts = facts[client]
			close2(l.waiter)
			if l.late && !l.leave {
				late = append(late, l)
			}
			r.callbacks.sessionJoined(client, l.session.ID)
			if joined[client] {
				joined[client] = false // one of its sessions was the first
				r.callbacks.clientJoined(client)
			}
		}
		switch {
		case l.leave:
			l.queued = true
			r.ends = append(r.ends, l)
		case l.dirty:
			l.queued = true
			r.adds = append(r.adds, l)
		}
	}
	for _, l := range w.ends {
		if l.state == listingNew {
			r.callbacks.sessionJoined(l.session.Client, l.session.ID)
		}
		l.state = listingGone
	}
	r.oweLocked(w.nodeID, result.Ended)
	return late
}

// absentUntil returns until when the clients had been absent: where the first of their
// sessions came to this node. An earlier attempt may have listed that, and its reply was lost.
func (w *work) absentUntil(joined []string) map[string]Position {
	until := make(map[string]Position, len(joined))
	for _, client := range joined {
		until[client] = Position{}
	}
	listed := make(map[string]bool)
	for _, l := range append(slices.Clone(w.adds), w.ends...) {
		client, at := l.session.Client, l.owner.joinedAt
		first, ok := until[client]
		switch {
		case !ok:
		case l.state != listingNew:
			listed[client] = true // it was there already, and is named again
		case first.IsZero() || at.Epoch == first.Epoch && at.Seq < first.Seq:
			until[client] = at
		}
	}
	maps.DeleteFunc(until, func(client string, _ Position) bool { return listed[client] })
	return until
}

// putBack returns a batch to the front of the queue.
func (r *roster) putBack(w work) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts = append(w.facts, r.facts...)
	for _, d := range w.debts {
		if r.owed[d.owner] > 0 {
			r.debts = append(r.debts, d)
		}
	}
	if w.nodeID == r.nodeID {
		r.adds = append(w.adds, r.adds...)
		r.ends = append(w.ends, r.ends...)
		return
	}
	for _, l := range append(w.adds, w.ends...) {
		if l.state == listingNew && l.leave {
			r.takeAlong(l)
		}
	}
}
