package broker

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// verdict is whether a session is to get an entry.
type verdict uint8

const (
	never verdict = iota
	may
	mustGet
)

// check judges everything that the tabs have seen.
func (w *world) check() {
	w.truth.mu.Lock()
	for _, err := range w.truth.errs {
		w.failf("%s", err)
	}
	for _, t := range w.tabs {
		for i, s := range t.sessions {
			c := &reading{w: w, s: s, final: i == len(t.sessions)-1}
			c.run()
		}
	}
	w.truth.mu.Unlock()
	w.checkPresence()
	w.checkKicks()
}

// reading goes through what one session has received.
type reading struct {
	w     *world
	s     *tabSession
	final bool

	at        backplane.Position // of the browser
	known     bool
	ord       int // of at
	floor     int // of the last thing that was delivered, with or without an id
	delivered map[int]bool
	timeline  map[string][]shift
	next      backplane.Position // in the block behind the present one
	author    *logged            // its position block is to follow
	first     bool               // nothing has come yet
	pending   string             // a gap that a reset may announce, if the session lives long enough
	start     int                // ord of where the session started
}

func (c *reading) failf(format string, args ...any) {
	s := c.s
	var history []string
	for _, b := range s.sink.received() {
		history = append(history, sprintf("%s/%s/%s", b.id, b.event, strings.TrimRight(b.data, "x")))
	}
	if n := len(history); n > 40 {
		history = history[n-40:]
	}
	var shifts string
	for name, list := range c.timeline {
		shifts += sprintf(" %s%+v", name, list)
	}
	var joins string
	for _, j := range c.w.joins {
		if j.client == s.tab.client {
			joins += sprintf(" %+v", *j)
		}
	}
	c.w.failf("tab %d (%s, topics %v), session %s on %s from %q at clock %d: %s\n\treceived %v\n\tshifts %s\n\tjoins %s, changes %+v",
		s.tab.id, s.tab.client, s.tab.topics, s.sessionID(), s.node.name, s.sentID, s.started, sprintf(format, args...), history, shifts, joins, s.changes)
}

func (c *reading) run() {
	s, t := c.s, c.w.truth
	c.delivered = make(map[int]bool)
	c.first = true
	if pos, err := ParsePosition(s.sentID); err == nil {
		c.at, c.known = pos, true
	} else if e := c.entryBefore(s.sentSerial); e != nil {
		c.at, c.known = e.pos, true
	}
	if c.known {
		c.ord = t.ordOf(c.at)
	}
	c.floor, c.start = c.ord, c.ord
	blocks := s.sink.received()
	for i, b := range blocks {
		c.next = backplane.Position{}
		if i+1 < len(blocks) {
			c.next, _ = ParsePosition(blocks[i+1].id)
		}
		c.block(b)
		if len(c.w.errs) > 5 {
			return
		}
	}
	if c.final && s.sessionID() != "" && !s.ended() {
		end := t.bounds().Last
		if !c.known || c.at.Epoch != end.Epoch || c.at.Seq != end.Seq {
			c.failf("stands at %v when all is quiet and the log ends at %v", c.at, end)
		}
	}
	if s.sessionID() == "" && len(s.sink.received()) > 1 {
		c.failf("a refused connection got more than retry")
	}
}

// entryBefore returns where the author's event stood that the browser had seen last.
func (c *reading) entryBefore(serial int) *logged {
	var found *logged
	for _, e := range c.w.truth.bySer[serial] {
		if e.ord <= c.s.joinOrd {
			found = e
		}
	}
	return found
}

func (c *reading) block(b block) {
	if c.author != nil && (!b.hasID || b.hasData || b.id != c.author.pos.String()) {
		c.failf("after the author's id of #%d came %+v instead of its position", c.author.serial, b)
	}
	c.author = nil
	switch {
	case b.event == "reset":
		c.reset(b)
	case b.hasData && b.hasID:
		c.event(b)
	case b.hasData:
		c.ephemeral(b)
	case b.hasID:
		c.position(b)
	default:
		return // retry: or a comment
	}
	c.first = false
}

// position judges a data-less block with an id.
func (c *reading) position(b block) {
	pos, err := ParsePosition(b.id)
	if err != nil {
		c.failf("a data-less block has the id %q", b.id)
		return
	}
	if h := c.w.truth.epochs[pos.Epoch]; h == nil {
		c.failf("block with the id %v, of no epoch", pos)
		return
	}
	switch {
	case !c.known && c.s.sentID != "" && c.s.sentSerial == 0:
		c.failf("came with %q and got %v without a reset", c.s.sentID, pos)
	case !c.known && c.s.since > 0:
		c.sinceGap(c.w.truth.ordOf(pos), b)
	case !c.known: // the greeting
		c.start = c.w.truth.ordOf(pos)
	default:
		if !c.moveTo(pos, b, true) {
			return
		}
	}
	c.set(pos)
}

// mixed reports whether numbers have been given out again in the epoch: until the nodes
// notice, and reset everybody, what they kept and what they read differ.
func (c *reading) mixed() bool {
	h := c.w.truth.epochs[c.at.Epoch]
	return c.w.mood.tags && h != nil && h.rollbacks > 0
}

func (c *reading) set(pos backplane.Position) {
	c.at, c.known = pos, true
	c.ord = c.w.truth.ordOf(pos)
	c.floor = max(c.floor, c.ord)
}

// moveTo judges that the browser's position moves ahead.
func (c *reading) moveTo(pos backplane.Position, b block, inclusive bool) bool {
	if pos.Epoch != c.at.Epoch {
		c.failf("the epoch changed from %v to %v without a reset", c.at, pos)
		return false
	}
	to := c.w.truth.ordOf(pos)
	if to < c.ord && pos.Seq >= c.at.Seq && c.mixed() {
		return true
	}
	if pos.Seq < c.at.Seq || to < c.ord {
		c.failf("went back from %v to %v", c.at, pos)
		return false
	}
	last := to
	if !inclusive {
		last--
	}
	c.gap(last, b)
	return true
}

// gap fails if an event up to to is missing that the session should have got before the block.
func (c *reading) gap(to int, b block) {
	for _, e := range c.w.truth.between(c.at.Epoch, c.ord, to) {
		if c.delivered[e.ord] || c.mixed() {
			continue
		}
		if v, late := c.verdict(e, b); v == mustGet {
			what := sprintf("#%d at %v (to %s %v) is missing before %s #%d at clock %d", e.serial, e.pos,
				c.w.pubs[e.serial].to.kind, c.w.pubs[e.serial].to.names, b.id, serialOf(b.data), b.clock)
			if late {
				c.pending = what
				continue
			}
			c.failf("%s", what)
		}
	}
}

// sinceGap is gap for the first id of a session that asked for the last while.
func (c *reading) sinceGap(to int, b block) {
	epoch := c.w.truth.current
	from := c.s.openedAt.Add(-c.s.since)
	first := c.w.truth.bounds().First
	for _, e := range c.w.truth.between(epoch, 0, to) {
		if c.delivered[e.ord] || e.time.Before(from) || e.pos.Epoch != first.Epoch || e.pos.Seq <= first.Seq || e.ord > c.s.joinOrd {
			continue
		}
		if v, late := c.verdict(e, b); v == mustGet && !late {
			c.failf("since %v: #%d at %v is missing", from, e.serial, e.pos)
		}
	}
}

// event judges an event with an id.
func (c *reading) event(b block) {
	serial := serialOf(b.data)
	p := c.w.pubs[serial]
	if p == nil {
		c.failf("event that nobody has published: %+v", b)
		return
	}
	var e *logged
	if p.authorID != "" {
		if b.id != p.authorID {
			c.failf("#%d came with the id %q, its author gave it %q", serial, b.id, p.authorID)
		}
		for _, other := range c.w.truth.bySer[serial] {
			if e == nil || c.known && other.pos.Epoch == c.at.Epoch && other.ord > c.ord && (e.pos.Epoch != c.at.Epoch || e.ord <= c.ord) {
				e = other
			}
		}
		if next := c.w.truth.byPos[c.next]; next != nil && next.serial == serial {
			e = next
		}
		c.author = e
	} else if pos, err := ParsePosition(b.id); err == nil {
		e = c.w.truth.byPos[pos]
	}
	if e == nil || e.serial != serial {
		c.failf("#%d came with the id %q, where the log has %+v", serial, b.id, e)
		return
	}
	switch {
	case p.ephemeral:
		c.failf("the ephemeral #%d has an id", serial)
	case c.delivered[e.ord]:
		c.failf("#%d came twice", serial)
	case e.ord <= c.floor && c.known && !c.mixed():
		c.failf("#%d at %v came after %v", serial, e.pos, c.at)
	}
	if v, _ := c.verdict(e, b); v == never {
		c.failf("#%d (to %s %v, except %q) is not for this session", serial, p.to.kind, p.to.names, p.except)
	}
	switch {
	case c.known:
		c.moveTo(e.pos, b, false)
	case c.s.since > 0:
		// What the node had not heard of before counts as new: how late it is, it can not tell.
		heard := e.ord <= c.w.truth.ordOf(c.s.early)
		if heard && e.time.Before(c.s.startedAt.Add(-c.s.since-maxModelLate)) {
			c.failf("#%d is older than asked for", serial)
		}
		c.delivered[e.ord] = true
		c.sinceGap(e.ord, b)
	default:
		c.failf("#%d came before the session was told its position", serial)
	}
	c.delivered[e.ord] = true
	c.set(e.pos)
}

// ephemeral judges an event without an id.
func (c *reading) ephemeral(b block) {
	serial := serialOf(b.data)
	p := c.w.pubs[serial]
	if p == nil || !p.ephemeral {
		c.failf("event without an id: %+v", b)
		return
	}
	var e *logged
	for _, other := range c.w.truth.bySer[serial] {
		// One that was published again, after the bus had lost it, may be either.
		stale := e != nil && !c.known && e.ord <= c.s.joinOrd
		if (e == nil || stale) && other.ord > c.floor && (!c.known || other.pos.Epoch == c.at.Epoch) {
			e = other
		}
	}
	switch {
	case e == nil:
		c.failf("the ephemeral #%d came out of order or twice", serial)
		return
	case !c.known && c.s.since == 0:
		c.failf("the ephemeral #%d came before the session was told its position", serial)
	case !c.s.sink.everSlow && b.at.Sub(e.time) > ephemeralAge+2*maxModelLate:
		c.failf("the ephemeral #%d is %v old", serial, b.at.Sub(e.time))
	case e.ord <= c.s.joinOrd && e.pos.Seq <= c.s.early.Seq && e.pos.Epoch == c.s.early.Epoch:
		c.failf("the ephemeral #%d was replayed", serial)
	}
	if v, _ := c.verdict(e, b); v == never {
		c.failf("the ephemeral #%d (to %s %v, except %q) is not for this session", serial, p.to.kind, p.to.names, p.except)
	}
	if c.known && e.pos.Epoch == c.at.Epoch {
		c.gap(e.ord-1, b)
	}
	c.floor = e.ord
	c.delivered[e.ord] = true
}

// reset judges a reset.
func (c *reading) reset(b block) {
	pos, err := ParsePosition(b.id)
	if err != nil {
		c.failf("a reset has the id %q", b.id)
		return
	}
	reason := strings.TrimSuffix(strings.TrimPrefix(b.data, `{"reason":"`), `"}`)
	h := c.w.truth.epochs[c.at.Epoch]
	strange := !c.known || h == nil || c.s.garbage
	switch ResetReason(reason) {
	case ResetRetention:
		if !strange && b.bounds.Epoch == c.at.Epoch && b.bounds.First.Seq <= c.at.Seq {
			c.failf("needless reset: at %v, the log begins at %v", c.at, b.bounds.First)
		}
	case ResetHistory:
		if !strange && c.pending == "" && pos.Epoch == c.at.Epoch && h.rollbacks == 0 && c.at.Seq <= h.highest && !c.s.late() && !c.w.mood.joins {
			c.failf("needless reset at %v: nothing was lost", c.at)
		}
	case ResetPosition:
		if _, err := ParsePosition(c.s.sentID); err == nil || !c.first || c.s.sentID == "" {
			c.failf("needless reset: %q is a position, or was not the first thing to judge", c.s.sentID)
		}
	default:
		c.failf("a reset has the data %q", b.data)
	}
	if c.known && ResetReason(reason) != ResetPosition && pos.Epoch == c.at.Epoch && pos.Seq < c.at.Seq && !c.s.garbage && h != nil && c.at.Seq <= h.highest && h.rollbacks == 0 {
		c.failf("a reset went back from %v to %v", c.at, pos)
	}
	if h := c.w.truth.epochs[pos.Epoch]; h == nil {
		c.failf("a reset with the id %v, of no epoch", pos)
		return
	}
	c.pending = ""
	c.at, c.known = pos, true
	c.ord = c.w.truth.ordOf(pos)
	c.floor = c.ord
}

// late reports whether the stream had to start before the register had answered.
func (s *tabSession) late() bool { return s.openedAt.Sub(s.startedAt) >= registerPatience }

// verdict says whether the session was to get the entry before the block; late, that
// it depends on what the register said late.
func (c *reading) verdict(e *logged, b block) (v verdict, late bool) {
	p := c.w.pubs[e.serial]
	if p == nil {
		return never, false
	}
	if p.except != "" && p.except == c.s.sessionID() {
		return never, false
	}
	if p.ephemeral && !c.delivered[e.ord] && b.data != "" && serialOf(b.data) != e.serial || p.ephemeral && b.data == "" {
		return may, false
	}
	switch p.to.kind {
	case kindEveryone:
		return mustGet, false
	case kindClient:
		if slices.Contains(p.to.names, c.s.tab.client) {
			return mustGet, false
		}
	case kindSession:
		if slices.Contains(p.to.names, c.s.sessionID()) {
			return mustGet, false
		}
	case kindTopic:
		for _, name := range p.to.names {
			t, l := c.topic(name, e, b)
			if t > v || t == v && !l {
				v, late = t, l
			}
		}
	}
	return v, late
}

// shift is a point at which a session begins or ceases to follow a topic: behind
// before it surely had not happened, behind after it surely had.
type shift struct {
	clock         int
	before, after int // ord
	v             verdict
	late          bool
}

const endless = 1 << 30

// topic says whether the session follows a topic at that entry.
func (c *reading) topic(name string, e *logged, b block) (v verdict, late bool) {
	shifts, ok := c.timeline[name]
	if !ok {
		if c.timeline == nil {
			c.timeline = make(map[string][]shift)
		}
		shifts = c.shifts(name)
		c.timeline[name] = shifts
	}
	for _, s := range shifts {
		switch {
		case s.clock > b.clock: // had not begun when the block came
		case e.ord > s.after:
			v, late = s.v, s.late
		case s.v != mustGet && v == mustGet:
			v = may // it may have been dropped before it was written
		case e.ord > s.before && s.v != v:
			v = may
		}
	}
	return v, late
}

// shifts returns the history of a session's following of a topic.
func (c *reading) shifts(name string) []shift {
	s, w := c.s, c.w
	var list []shift
	named := slices.Contains(s.tab.topics, name)
	if named {
		list = append(list, shift{after: -1, before: -1, v: mustGet})
	}
	certain := w.mood.grace >= 10*60e9 && !w.truth.lost
	// What the cluster was told.
	joined := never
	knew := 0 // what the session knows of a log that its node may not have seen
	for _, j := range w.joins {
		if j.client != s.tab.client || !slices.Contains(j.topics, name) {
			continue
		}
		ord := endless
		if e := w.controlOf(j); e != nil {
			ord = e.ord
		}
		v := never
		if j.op == opJoin {
			v = mustGet
		}
		if j.end != 0 && j.end < s.started { // before this session
			switch {
			case !j.ok || !certain:
				joined = may
			default:
				joined = v
			}
			if ord == endless {
				joined, ord = may, j.startOrd
			}
			knew = max(knew, ord)
			if named && v == never && (!j.ok || s.late()) {
				// It failed, and may come true later; or the register had not answered: a false
				// leave is better than a lost one.
				list = append(list, shift{before: -1, after: ord, v: may})
			}
			if !named {
				list = append(list, shift{before: -1, after: ord, v: joined, late: s.late()})
			}
			continue
		}
		if !j.ok || ord == endless {
			list = append(list, shift{clock: j.start, before: -1, after: j.startOrd, v: may})
			continue
		}
		if j.start < s.started+1 || !s.settledBefore(j) {
			// While it was being opened: the session may know from the register or
			// from the log.
			if j.op == opLeave {
				list = append(list, shift{clock: j.start, before: -1, after: ord, v: may})
				continue
			}
		}
		if !certain && j.start < w.listed(s) && !s.settledBefore(j) {
			v = may // the client may have been absent in between, which ends what it was joined to
		}
		for _, ch := range s.changes {
			if ch.topic == name && w.seemsOlder(j, ch) {
				v = may
			}
		}
		list = append(list, shift{clock: j.start, before: -1, after: ord, v: v, late: s.late()})
	}
	// What this connection was told.
	for _, ch := range s.changes {
		if ch.topic != name {
			continue
		}
		v := never
		if ch.on {
			v = mustGet
		}
		if !ch.on && joined != never || !ch.on && w.everJoined(s.tab.client, name) {
			v = may
		}
		after := w.truth.ordOf(ch.at)
		if w.inDoubt(s.tab.client, name, ch) || knew > 0 && s.late() {
			v = may
		}
		list = append(list, shift{clock: ch.clock, before: w.truth.ordOf(ch.before), after: after, v: v})
		if knew > after && named { // its node is yet to hear of a Leave before the session
			list = append(list, shift{clock: ch.clock, before: after, after: knew, v: may})
		}
	}
	// What comes later in the log wins: a connection's own changes stand where its
	// node stood.
	slices.SortStableFunc(list, func(a, b shift) int { return cmp.Or(a.after-b.after, a.clock-b.clock) })
	return list
}

// inDoubt reports whether nobody can know if a Join or Leave of the client takes effect only
// after the connection's own: it failed; or the bus has lost its entry, so that a node
// learns of it when it has noticed the loss; or it seems to be the older one.
func (w *world) inDoubt(client, topic string, ch connChange) bool {
	for _, j := range w.joins {
		if j.client != client || !slices.Contains(j.topics, topic) {
			continue
		}
		lost := w.controlOf(j) == nil && w.lostControl(j) > w.truth.epochs[ch.before.Epoch].startOrd
		if !j.ok || lost || w.seemsOlder(j, ch) {
			return true
		}
	}
	return false
}

// seemsOlder reports whether a Join or Leave came behind the connection's own, and has a
// number that is not.
func (w *world) seemsOlder(j *change, ch connChange) bool {
	e := w.controlOf(j)
	return e != nil && e.pos.Epoch == ch.at.Epoch && e.pos.Seq <= ch.at.Seq && e.ord > w.truth.ordOf(ch.at)
}

// listed returns when the register first had the session.
func (w *world) listed(s *tabSession) int {
	if clock := w.truth.registered[s.sessionID()]; clock != 0 {
		return clock
	}
	return endless
}

// settledBefore reports whether the session stood before the change began.
func (s *tabSession) settledBefore(j *change) bool {
	for _, b := range s.sink.received() {
		return b.clock < j.start
	}
	return false
}

func (w *world) everJoined(client, topic string) bool {
	for _, j := range w.joins {
		if j.op == opJoin && j.client == client && slices.Contains(j.topics, topic) {
			return true
		}
	}
	return false
}

// controlsOf returns the entries that told the nodes of a change.
func (w *world) controlsOf(j *change) (found []*logged) {
	for _, e := range w.truth.entries[j.startOrd:] {
		c := e.control
		if j.end != 0 && j.ok && e.ord > j.endOrd {
			break
		}
		if c != nil && c.op == j.op && c.client == j.client && slices.Equal(c.topics, j.topics) {
			found = append(found, e)
		}
	}
	return found
}

// controlOf returns the entry that told the nodes of a change, nil if there is none that
// the bus has kept.
func (w *world) controlOf(j *change) *logged {
	for _, e := range w.controlsOf(j) {
		if !e.lost {
			return e
		}
	}
	return nil
}

// lostControl returns where the last entry stood that told the nodes of a change.
func (w *world) lostControl(j *change) (ord int) {
	for _, e := range w.controlsOf(j) {
		ord = e.ord
	}
	return ord
}

// checkPresence compares the register with reality.
func (w *world) checkPresence() {
	reality := make(map[string]string)
	for _, t := range w.tabs {
		if t.open() {
			reality[t.current.sessionID()] = t.client
		}
	}
	for _, n := range w.nodes {
		found := make(map[string]string)
		for s, err := range n.broker.AllSessions(context.Background()) {
			if err != nil {
				w.failf("node %s cannot say who is there: %v", n.name, err)
				return
			}
			found[s.ID] = s.ClientID
		}
		if !maps.Equal(reality, found) {
			w.failf("node %s sees the sessions %v, in reality there are %v", n.name, found, reality)
		}
		for i := range w.mood.clients {
			client := sprintf("client-%d", i)
			there := false
			for _, c := range reality {
				there = there || c == client
			}
			if n.broker.IsClientPresent(client) != there {
				w.failf("node %s says that %s is present: %v", n.name, client, !there)
			}
		}
	}
}

// checkKicks fails if a session has survived a disconnect that began after it was identified.
func (w *world) checkKicks() {
	for _, t := range w.tabs {
		for _, s := range t.sessions {
			for _, k := range w.kicks {
				if k.client == t.client && k.ok && s.identified < k.start && t.current == s && t.open() && !w.lostKick(k, s) {
					w.failf("session %s of %s was not disconnected (%d < %d): entry %+v, joined at %v", s.sessionID(), t.client, s.identified, k.start, w.controlOf(k), s.early)
				}
			}
		}
	}
}

// lostKick reports whether the bus has lost the disconnect, or has given it a number that it had
// given out before, so that it seems to be older than the session.
func (w *world) lostKick(k *change, s *tabSession) bool {
	w.truth.mu.Lock()
	defer w.truth.mu.Unlock()
	e := w.controlOf(k)
	return w.truth.lost || w.mood.retention < time.Minute || e == nil ||
		e.pos.Epoch == s.openedPos.Epoch && e.pos.Seq <= s.openedPos.Seq && w.truth.isAgain(e)
}

// checkEndings fails unless each session that was registered has had its disconnect
// callback once.
func (w *world) checkEndings() {
	w.mu.Lock()
	calls := make(map[string][]ending)
	for _, e := range w.ends {
		if !e.crashed {
			calls[e.session] = append(calls[e.session], e)
		}
	}
	w.mu.Unlock()
	w.truth.mu.Lock()
	defer w.truth.mu.Unlock()
	deaths := w.mood.crashes || w.mood.lapses || w.mood.cuts || w.mood.lossy || w.mood.slow || w.mood.drains
	for _, t := range w.tabs {
		for _, s := range t.sessions {
			id := s.sessionID()
			if id == "" {
				continue
			}
			n := len(calls[id])
			switch {
			case n == 0 && w.truth.lost: // nobody knew of it any more
			case n == 0 && w.truth.registered[id] != 0:
				w.failf("session %s of %s on %s (%v) has had no disconnect callback", id, t.client, s.node.name, s.err)
			case n > 1 && (w.truth.lost || w.mood.lapses): // the register has given the lease of a living node away
			case n > 1 && w.mood.retention < time.Minute && (w.mood.cuts || w.mood.slow || w.mood.lossy): // out of touch for longer than the register remembers
			case n > 1 && (calls[id][n-1].settled || !deaths):
				w.failf("session %s of %s has had %d disconnect callbacks", id, t.client, n)
			}
		}
	}
}
