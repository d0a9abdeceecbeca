package backplane

import "time"

// Tamper does to a namespace of a [Memory] what accidents do to a bus. It
// exists to test what stands on it; each method takes effect at once and for
// all nodes. Package backplanetest drives it.
type Tamper struct{ ns *namespace }

// Tamper returns the means to damage a namespace, which comes into being if it
// is not there yet.
func (m *Memory) Tamper(namespace string) *Tamper { return &Tamper{m.namespace(namespace)} }

// Trim lets go of all entries but the newest keep, as if the retention had
// passed over them. The newest entry stays in any case.
func (t *Tamper) Trim(keep int) {
	t.do(func(ns *namespace) {
		h := &ns.history
		entries := 0
		for _, s := range h.live() {
			if !s.mark {
				entries++
			}
		}
		for h.head < len(h.slots) && entries > max(keep, 1) {
			if !h.slots[h.head].mark {
				entries--
			}
			h.drop()
		}
		h.compact()
	})
}

// Rollback loses the newest n entries and all that was known of their batches
// and keys, as a failover to a replica that lagged does, or a restored copy of the
// store. The epoch stays: it is for the nodes to find out. Numbers are given
// out again only by a Memory [WithTags].
func (t *Tamper) Rollback(n int) { t.do(func(ns *namespace) { ns.rollback(n) }) }

// NewEpoch loses the newest n entries, which may be none, and changes the epoch.
func (t *Tamper) NewEpoch(n int) {
	t.do(func(ns *namespace) {
		ns.rollback(n)
		ns.history.begin(ns.bus.newEpoch())
	})
}

// Lose loses everything, log and register, as a bus does that kept them in
// memory and was started again. Numbers start again in another epoch.
func (t *Tamper) Lose() { t.do(func(ns *namespace) { ns.reset(ns.bus.newEpoch()) }) }

// Mark makes the bus put a mark of its own at the end of the log: the end moves,
// and no entry comes.
func (t *Tamper) Mark() { t.do(func(ns *namespace) { ns.history.append(nil, true, time.Now()) }) }

// Foreign appends an entry that no node of this library has written.
func (t *Tamper) Foreign() { t.do(func(ns *namespace) { ns.history.append(nil, false, time.Now()) }) }

// Lapse ends the lease of a node before its time.
func (t *Tamper) Lapse(node string) {
	t.do(func(ns *namespace) {
		if n := ns.register.nodes[node]; n != nil {
			n.lease = time.Time{}
		}
	})
}

func (t *Tamper) do(f func(*namespace)) {
	t.ns.mu.Lock()
	defer t.ns.mu.Unlock()
	f(t.ns)
	t.ns.changed()
}

func (ns *namespace) rollback(n int) {
	h := &ns.history
	for ; n > 0 && len(h.slots) > h.head; n-- {
		i := len(h.slots) - 1
		h.bytes -= h.slots[i].size()
		h.slots[i] = slot{}
		h.slots = h.slots[:i]
	}
	h.newest = 0
	for i := len(h.slots) - 1; i >= h.head && h.newest == 0; i-- {
		if !h.slots[i].mark {
			h.newest = h.slots[i].Position.Seq
		}
	}
	end := h.last()
	lost := func(p Position) bool { return p.Epoch == end.Epoch && p.Seq > end.Seq }
	for name, p := range ns.once.producers.all() {
		for _, pos := range p.positions {
			if lost(pos) {
				ns.once.producers.delete(name)
				break
			}
		}
	}
	for key, k := range ns.once.keys.all() {
		if lost(k.position) {
			ns.once.keys.delete(key)
		}
	}
	if h.tagged {
		h.seq = end.Seq
	}
}
