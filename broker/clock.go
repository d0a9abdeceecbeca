package broker

import (
	"context"
	"time"
)

// clock is the one timer of a node: heartbeats, expiries, resets and
// re-authorisations of all its sessions are due by it.
type clock struct {
	node     *node
	interval time.Duration // the usual heartbeat interval
	poke     chan struct{}
}

// minTick bounds how often the clock goes through the sessions.
const minTick = 5 * time.Millisecond

func newClock(n *node, cfg *config) *clock {
	c := &clock{node: n, interval: cfg.heartbeat, poke: make(chan struct{}, 1)}
	n.pokeClock = signalFunc(c.poke)
	return c
}

func (c *clock) run(ctx context.Context) {
	t := time.NewTimer(c.interval / 8)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-c.poke:
		}
		t.Reset(max(minTick, c.node.tick(time.Now(), c.interval/8)))
	}
}

// tick does what is due, and returns when to come again: after usual, or
// sooner when something is due before.
func (n *node) tick(now time.Time, usual time.Duration) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := usual
	var position, comment *frame
	until := func(t time.Time) bool {
		if d := t.Sub(now); d > 0 {
			next = min(next, d)
			return false
		}
		return true
	}
	for _, s := range n.sessions {
		if !s.expires.IsZero() && until(s.expires) {
			s.end(ErrExpired)
			continue
		}
		if s.reauth != nil && until(s.reauth.next) {
			s.reauth.start(now, s)
			next = min(next, s.reauth.every)
		}
		if s.state == stateReset && until(s.resetAt) {
			n.resetDue(s)
			continue
		}
		next = min(next, s.interval/8)
		idle, takenAt, idAt, idSeq := s.idle()
		switch {
		case !idle:
		case s.state == stateLive && idSeq != n.pos.Seq && now.Sub(idAt) >= s.interval,
			s.state == stateLive && now.Sub(takenAt) >= s.interval:
			if position == nil {
				position = newPositionFrame(n.pos)
			}
			s.offer(position)
		case now.Sub(takenAt) >= s.interval:
			if comment == nil {
				comment = heartbeatFrame()
			}
			_ = s.sendDirect(comment)
		}
	}
	return next
}
