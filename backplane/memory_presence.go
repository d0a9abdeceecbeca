package backplane

import (
	"context"
	"time"
)

func (l *memoryLog) Presence(ctx context.Context, clients ...string) ([]Presence, error) {
	ns, err := l.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer ns.mu.Unlock()
	now := time.Now()
	out := make([]Presence, len(clients))
	for i, name := range clients {
		out[i] = ns.register.presence(name, ns.cfg.ResumeGrace, now)
	}
	return out, nil
}

func (r *register) presence(name string, grace time.Duration, now time.Time) Presence {
	c := r.clients[name]
	if c == nil {
		return Absent
	}
	for _, s := range c.sessions {
		if r.nodes[s.Node].holds(now) {
			return Present
		}
	}
	if len(c.sessions) > 0 || c.in && now.Sub(c.ended) < grace {
		return Recent
	}
	return Absent
}
