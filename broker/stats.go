package broker

import "sync/atomic"

// counters count from the start of the broker.
type counters struct {
	published, entries, delivered, replayed, resets atomic.Uint64
	fallenBehind, scans, malformed, refused         atomic.Uint64
}

// Stats is a snapshot of what a node is doing. Counts are since the start of the
// broker, and concern this node alone.
type Stats struct {
	NodeName string   `json:"node"`
	Position Position `json:"-"`
	// Sessions and Clients are connected to this node now.
	Sessions int `json:"sessions"`
	Clients  int `json:"clients"`
	// CatchingUp of the sessions are not caught up with the log.
	CatchingUp int `json:"catchingUp"`
	// WindowEntries and WindowBytes are what this node keeps in memory of the log.
	WindowEntries int `json:"windowEntries"`
	WindowBytes   int `json:"windowBytes"`
	// Published events, by this node.
	Published uint64 `json:"published"`
	// Entries of the log that the node has followed.
	Entries uint64 `json:"entries"`
	// Delivered events went to caught-up sessions, Replayed ones to others.
	Delivered uint64 `json:"delivered"`
	Replayed  uint64 `json:"replayed"`
	// Resets sent.
	Resets uint64 `json:"resets"`
	// FallenBehind counts how often a session did not keep up with the feed.
	FallenBehind uint64 `json:"fallenBehind"`
	// Scans of the log on the bus, for sessions older than the window.
	Scans uint64 `json:"scans"`
	// Malformed or foreign entries skipped.
	Malformed uint64 `json:"malformed"`
	// Refused connections.
	Refused uint64 `json:"refused"`
}

// Stats returns a snapshot. It does not ask the bus.
func (b *Broker) Stats() Stats {
	c, n := b.counters, b.node
	s := Stats{
		NodeName:  b.cfg.nodeName,
		Published: c.published.Load(), Entries: c.entries.Load(),
		Delivered: c.delivered.Load(), Replayed: c.replayed.Load(), Resets: c.resets.Load(),
		FallenBehind: c.fallenBehind.Load(), Scans: c.scans.Load(),
		Malformed: c.malformed.Load(), Refused: c.refused.Load(),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Position, s.Sessions, s.Clients = n.pos, len(n.sessions), len(n.clients)
	for _, session := range n.sessions {
		if session.state != stateLive {
			s.CatchingUp++
		}
	}
	if n.window != nil {
		s.WindowEntries, s.WindowBytes = n.window.entries.len(), n.window.bytes
	}
	return s
}
