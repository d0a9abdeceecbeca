package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/sse"
)

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// mood is what a seed is about: not all that can happen does in each.
type mood struct {
	nodes, clients, tabs int
	steps                int
	window, logBytes     int
	retention            time.Duration
	grace                time.Duration
	queue, batch         int
	scanPage             int
	tags, holes          bool
	cuts, slow, lossy    bool // of lines
	trims, marks         bool
	epochs, rollbacks    bool
	loses                bool
	crashes, lapses      bool
	drains               bool
	stalls, breaks       bool
	joins, disconnects   bool
	oldCursors, garbage  bool
	since                bool
	hurry                time.Duration // the longest usual pause
}

func newMood(r *rand.Rand, steps int) mood {
	odds := func(p float64) bool { return r.Float64() < p }
	m := mood{
		nodes: 1 + r.IntN(3), clients: 1 + r.IntN(4), tabs: 2 + r.IntN(6),
		steps:  steps/2 + r.IntN(steps),
		window: []int{1 << 10, 2 << 10, 8 << 10, 1 << 20}[r.IntN(4)], logBytes: []int{2 << 10, 8 << 10, 1 << 20}[r.IntN(3)],
		retention: []time.Duration{5 * time.Second, 10 * time.Minute, 10 * time.Minute}[r.IntN(3)],
		grace:     []time.Duration{0, 5 * time.Second, 10 * time.Minute, 10 * time.Minute}[r.IntN(4)],
		queue:     []int{1, 2, 4, 128}[r.IntN(4)], batch: []int{1, 3, 500}[r.IntN(3)], scanPage: []int{1, 500, 2000, 1 << 20}[r.IntN(4)],
		tags: odds(0.3), holes: odds(0.3),
		cuts: odds(0.4), slow: odds(0.4), lossy: odds(0.3),
		trims: odds(0.3), marks: odds(0.3),
		epochs: odds(0.25), rollbacks: odds(0.25), loses: odds(0.08),
		crashes: odds(0.3), lapses: odds(0.25), drains: odds(0.3),
		stalls: odds(0.5), breaks: odds(0.4),
		joins: odds(0.6), disconnects: odds(0.3),
		oldCursors: odds(0.5), garbage: odds(0.3), since: odds(0.3),
		hurry: []time.Duration{time.Millisecond, 50 * time.Millisecond, 500 * time.Millisecond}[r.IntN(3)],
	}
	if odds(0.1) { // a calm day
		m.cuts, m.slow, m.lossy, m.trims, m.epochs, m.rollbacks, m.loses, m.crashes, m.lapses = false, false, false, false, false, false, false, false, false
	}
	return m
}

// world is one run of the model.
type world struct {
	t     *testing.T
	r     *rand.Rand
	mood  mood
	truth *truth
	diary *diary
	bus   *backplanetest.Faults
	nodes []*modelNode
	tabs  []*tab
	wg    sync.WaitGroup // everything that is under way

	mu     sync.Mutex // guards the rest, with what happens on other goroutines
	serial int
	pubs   map[int]*told
	ends   []ending // disconnect callbacks
	kicks  []*change
	joins  []*change
	busy   map[string]bool // client and topic with a Join or Leave under way
	errs   []string
}

// modelNode is one life of a node.
type modelNode struct {
	name    string
	broker  *Broker
	line    *backplanetest.Line
	crashed bool
	closing bool
}

// ending is one call of the disconnect callback.
type ending struct {
	session string
	node    *modelNode
	crashed bool // it was called by a node that is dead
	settled bool // at that time
}

// told is an event that the model has published.
type told struct {
	serial    int
	to        Audience
	except    string
	ephemeral bool
	authorID  string
	keyed     bool
}

// change is a cluster-wide Join, Leave or Disconnect.
type change struct {
	client     string
	topics     []string
	op         operation
	start, end int // clock; end 0: under way
	startOrd   int
	endOrd     int
	ok         bool
}

// tab is a browser's tab.
type tab struct {
	id       int
	client   string
	topics   []string
	lastID   string
	current  *tabSession
	sessions []*tabSession
}

// tabSession is one connection of a tab.
type tabSession struct {
	tab        *tab
	node       *modelNode
	sink       *tabSink
	cancel     context.CancelFunc
	sentID     string
	sentSerial int // the event whose author's id it sent
	since      time.Duration
	started    int // clock
	startedAt  time.Time
	joinOrd    int
	early      backplane.Position // of the node, before Connect
	garbage    bool

	mu        sync.Mutex
	conn      *ClientConnection
	opened    bool
	openedAt  time.Time
	openedPos backplane.Position
	// identified is when a Disconnect concerned the session for certain.
	identified int
	over       bool // the handler has returned
	err        error
	changes    []connChange
}

// connChange is a Join or Leave of one connection.
type connChange struct {
	topic      string
	on         bool
	clock      int
	before, at backplane.Position
}

func (w *world) failf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, sprintf(format, args...))
}

func newWorld(t *testing.T, seed uint64, steps int) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	m := newMood(r, steps)
	options := []backplane.MemoryOption{backplane.WithSeed(seed)}
	if m.tags {
		options = append(options, backplane.WithTags())
	}
	if m.holes {
		options = append(options, backplane.WithHoles())
	}
	w := &world{t: t, r: r, mood: m, diary: new(diary), pubs: make(map[int]*told), busy: make(map[string]bool)}
	cfg := defaultConfig()
	for _, o := range w.options("", nil) {
		o.apply(cfg)
	}
	var err error
	if w.truth, err = newTruth(backplane.NewMemory(options...), cfg.backplaneConfig()); err != nil {
		t.Fatal(err)
	}
	w.truth.diary = w.diary
	w.bus = backplanetest.NewFaults(w.truth, seed)
	for i := range m.nodes {
		w.nodes = append(w.nodes, nil)
		w.boot(i)
	}
	for i := range m.tabs {
		w.tabs = append(w.tabs, w.newTab(i))
	}
	return w
}

const (
	modelLease     = 3 * time.Second
	modelHeartbeat = 2 * time.Second
)

func (w *world) options(name string, bp backplane.Backplane) []Option {
	m := w.mood
	options := []Option{
		WithWindow(m.window), WithRetention(m.retention, int64(m.logBytes)), WithResumeGrace(m.grace),
		WithLease(modelLease), WithHeartbeat(modelHeartbeat), WithWriteDeadline(5 * time.Second),
		WithIdempotencyWindow(time.Hour), WithRetry(time.Millisecond, 10*time.Millisecond),
		WithMaxEventSize(1 << 20), WithNamespace("model"),
	}
	if bp != nil {
		options = append(options, WithBackplane(bp), WithNodeName(name), WithLogger(w.diary.logger(name)))
	}
	return append(options, modelLimits(m))
}

// boot starts a node in that place.
func (w *world) boot(i int) {
	name := sprintf("%c%d", 'a'+i, w.truth.tick())
	n := &modelNode{name: name, line: w.bus.Line(name)}
	n.broker = NewBroker(nil, w.options(name, n.line)...)
	n.broker.SetDisconnectCallback(func(_, session string) {
		w.truth.mu.Lock()
		settled := w.truth.settled[session]
		w.truth.mu.Unlock()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.diary.note("%s: callback for %s, settled %v", name, session, settled)
		w.ends = append(w.ends, ending{session: session, node: n, crashed: n.crashed, settled: settled})
	})
	w.nodes[i] = n
	w.diary.note("boot %s", name)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.broker.Start(ctx); err != nil {
		w.failf("node %s does not start: %v", name, err)
	}
}

func (w *world) newTab(id int) *tab {
	t := &tab{id: id, client: sprintf("client-%d", w.r.IntN(w.mood.clients))}
	for i := range 4 {
		if w.r.IntN(3) == 0 {
			t.topics = append(t.topics, sprintf("topic-%d", i))
		}
	}
	return t
}

func (w *world) anyTopic() string { return sprintf("topic-%d", w.r.IntN(5)) }

// node returns a node that lives.
func (w *world) node() *modelNode { return w.nodes[w.r.IntN(len(w.nodes))] }

// connect opens a connection for the tab, to that node, from where it is.
func (w *world) connect(t *tab, n *modelNode) {
	s := &tabSession{
		tab: t, node: n, sentID: t.lastID, started: w.truth.tick(), startedAt: time.Now(), joinOrd: w.truth.ord(), early: n.broker.node.at(),
	}
	if w.mood.garbage && w.r.IntN(12) == 0 {
		s.sentID, s.garbage = w.garbage(), true
	}
	if p, err := ParsePosition(s.sentID); s.sentID != "" && err != nil || p.IsZero() {
		s.sentSerial = authorSerial(s.sentID)
	}
	s.sink = newTabSink(w.truth, s.sentID)
	if w.mood.breaks && w.r.IntN(4) == 0 {
		s.sink.breakIn = 1 + w.r.IntN(400)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.sink.diary, s.sink.name = w.diary, sprintf("tab %d (%s %v) at %s", t.id, t.client, t.topics, n.name)
	w.diary.note("%s: connects from %q at %d", s.sink.name, s.sentID, s.started)
	t.current, t.sessions = s, append(t.sessions, s)
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", nil)
	if s.sentID != "" {
		r.Header.Set("Last-Event-ID", s.sentID)
	}
	options := []ConnectOption{FollowTopics(t.topics...)}
	if s.sentID == "" && w.mood.since && w.r.IntN(2) == 0 {
		s.since = time.Duration(1+w.r.IntN(5000)) * time.Millisecond
		options = append(options, Since(s.since))
	}
	handler := w.r.IntN(3) == 0
	think := time.Duration(w.r.IntN(100)) * time.Millisecond
	w.wg.Go(func() {
		defer cancel()
		var err error
		if handler {
			// The connection is not known here, only its header.
			n.broker.Handler(func(*http.Request) (Client, error) {
				s.identify(w.truth)
				time.Sleep(think)
				return Client{ID: t.client}, nil
			}, options...).ServeHTTP(&noticingSink{tabSink: s.sink, s: s}, r)
		} else {
			var conn *ClientConnection
			if conn, err = n.broker.Connect(t.client, &noticingSink{tabSink: s.sink, s: s}, r, options...); err == nil {
				s.mu.Lock()
				s.conn = conn
				s.mu.Unlock()
				<-conn.Done()
				err = conn.Err()
			}
		}
		w.diary.note("%s: over, %v", s.sink.name, err)
		s.mu.Lock()
		s.over, s.err = true, err
		s.mu.Unlock()
	})
}

// noticingSink tells when the stream has begun.
type noticingSink struct {
	*tabSink
	s *tabSession
}

func (k *noticingSink) WriteHeader(status int) {
	k.s.mu.Lock()
	if k.header.Get("Sse-Session") != "" {
		k.s.opened, k.s.openedAt, k.s.openedPos = true, time.Now(), k.s.node.broker.node.at()
	}
	k.s.mu.Unlock()
	k.s.identify(k.t)
	k.diary.note("%s: %d %s", k.name, status, k.header.Get("Sse-Session"))
	k.tabSink.WriteHeader(status)
}

func (s *tabSession) identify(t *truth) {
	clock := t.tick()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identified == 0 {
		s.identified = clock
	}
}

func (s *tabSession) sessionID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.opened {
		return ""
	}
	return s.sink.header.Get("Sse-Session")
}

func (s *tabSession) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// open reports whether the browser believes that it is connected.
func (t *tab) open() bool {
	if t.current == nil {
		return false
	}
	t.current.sink.mu.Lock()
	gone := t.current.sink.gone
	t.current.sink.mu.Unlock()
	return !gone && !t.current.ended()
}

// hangUp closes the tab's connection, as a browser does at once.
func (t *tab) hangUp() {
	if t.current == nil {
		return
	}
	t.current.sink.diary.note("%s: hangs up", t.current.sink.name)
	t.current.sink.leave()
	t.current.cancel()
	t.remember()
	t.current = nil
}

// remember takes over the last id.
func (t *tab) remember() {
	if t.current == nil {
		return
	}
	if id := t.current.sink.last(); !t.current.garbage || id != t.current.sentID {
		t.lastID = id
	}
}

func (w *world) garbage() string {
	b := w.truth.bounds()
	next := backplane.Position{Epoch: b.Epoch, Seq: b.Last.Seq + 1}
	if w.mood.tags {
		next.Seq += 1000 // it would soon be one of several with that number
	}
	return []string{
		"nonsense", "42", "~nowhere.5", "~nowhere.0",
		backplane.Position{Epoch: b.Epoch, Seq: b.Last.Seq + 1000}.String(),
		next.String(),
		"~" + b.Epoch, "~~", " ", "~" + b.Epoch + ".zz.0", "id\xff",
	}[w.r.IntN(11)]
}

func authorSerial(id string) int {
	var n int
	if _, err := fmt.Sscanf(id, "author-%d", &n); err != nil {
		return 0
	}
	return n
}

// publish publishes one event from a node, and tries again when that is in doubt.
func (w *world) publish(n *modelNode) {
	p := w.newPublication()
	var options []PublishOption
	if p.ephemeral {
		options = append(options, Ephemeral())
	}
	if p.except != "" {
		options = append(options, Except(p.except))
	}
	if p.keyed {
		options = append(options, IdempotencyKey(sprintf("key-%d", p.serial)))
	}
	data := sprintf("#%d;%s", p.serial, padding(w.padding()))
	patience := time.Duration(1+w.r.IntN(4000)) * time.Millisecond
	others := slices.Clone(w.nodes)
	retries := w.r.IntN(5)
	w.wg.Go(func() {
		for attempt := 0; ; attempt++ {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			pos, err := n.broker.Publish(ctx, p.to, sse.StringEvent{Id: p.authorID, Data: data}, options...)
			cancel()
			if err == nil {
				w.accepted(p, pos)
				return
			}
			if !p.keyed || attempt >= retries || !errors.Is(err, ErrUnavailable) {
				return
			}
			n = others[(p.serial+attempt)%len(others)]
		}
	})
}

// accepted checks the position that publishing has returned.
func (w *world) accepted(p *told, pos backplane.Position) {
	w.truth.mu.Lock()
	defer w.truth.mu.Unlock()
	if e := w.truth.byPos[pos]; e == nil || e.serial != p.serial {
		w.truth.failf("publishing #%d returned %v, where the log has %+v", p.serial, pos, e)
	}
}

func padding(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'x'
	}
	return string(b)
}

func (w *world) padding() int {
	return w.r.IntN(200)
}

func (w *world) newPublication() *told {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serial++
	p := &told{serial: w.serial, keyed: w.r.IntN(2) == 0}
	switch w.r.IntN(10) {
	case 0, 1, 2:
		p.to = Everyone()
	case 3, 4:
		p.to = ToClient(sprintf("client-%d", w.r.IntN(w.mood.clients)))
	case 5:
		p.to = ToSession(w.anySession())
	default:
		topics := []string{w.anyTopic()}
		for w.r.IntN(3) == 0 {
			topics = append(topics, w.anyTopic())
		}
		p.to = Topics(topics...)
	}
	if w.r.IntN(6) == 0 {
		p.ephemeral = true
	} else if w.r.IntN(4) == 0 {
		p.authorID = sprintf("author-%d", p.serial)
	}
	if w.r.IntN(8) == 0 {
		p.except = w.anySession()
	}
	w.pubs[p.serial] = p
	return p
}

func (w *world) anySession() string {
	t := w.tabs[w.r.IntN(len(w.tabs))]
	if t.current != nil {
		if id := t.current.sessionID(); id != "" {
			return id
		}
	}
	return "nobody"
}

// crash ends a node without a word: it never reaches the bus again, its
// connections break, and what it still does counts for nothing.
func (w *world) crash(n *modelNode) {
	w.mu.Lock()
	n.crashed = true
	w.mu.Unlock()
	n.line.Cut(backplanetest.Refuse)
	w.diary.note("crash %s", n.name)
	for _, t := range w.tabs {
		if t.current != nil && t.current.node == n {
			t.hangUp()
		}
	}
	w.wg.Go(func() { _ = n.broker.Close() })
}

// change is a Join, a Leave or a Disconnect of a client, in the background.
func (w *world) clusterChange(n *modelNode, op operation) {
	c := &change{client: sprintf("client-%d", w.r.IntN(w.mood.clients)), op: op, start: w.truth.tick(), startOrd: w.truth.ord()}
	keys := []string{c.client + " kick"}
	if op != opDisconnect {
		c.topics = []string{w.anyTopic()}
		if w.r.IntN(3) == 0 {
			c.topics = append(c.topics, w.anyTopic())
		}
		keys = nil
		for _, topic := range c.topics {
			keys = append(keys, c.client+" "+topic)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		if op != opDisconnect && w.busy[key] {
			return
		}
	}
	for _, key := range keys {
		w.busy[key] = true
	}
	if op == opDisconnect {
		w.kicks = append(w.kicks, c)
	} else {
		w.joins = append(w.joins, c)
	}
	w.diary.note("op %d on %s %v by %s at %d", op, c.client, c.topics, n.name, c.start)
	w.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		var err error
		switch op {
		case opJoin:
			err = n.broker.Join(ctx, c.client, c.topics...)
		case opLeave:
			err = n.broker.Leave(ctx, c.client, c.topics...)
		case opDisconnect:
			err = n.broker.Disconnect(ctx, c.client, "model")
		}
		end, endOrd := w.truth.tick(), w.truth.ord()
		w.diary.note("op %d on %s %v by %s: %v", op, c.client, c.topics, n.name, err)
		w.mu.Lock()
		defer w.mu.Unlock()
		c.end, c.endOrd, c.ok = end, endOrd, err == nil
		for _, key := range keys {
			delete(w.busy, key)
		}
	})
}

// connChange is a Join or a Leave of one connection.
func (w *world) connChange(t *tab, on bool) {
	s := t.current
	if s == nil {
		return
	}
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if conn == nil {
		return
	}
	c := connChange{topic: w.anyTopic(), on: on, clock: w.truth.tick(), before: s.node.broker.node.at()}
	var err error
	if on {
		err = conn.Join(c.topic)
	} else {
		err = conn.Leave(c.topic)
	}
	c.at = s.node.broker.node.at()
	w.diary.note("%s: follows %s: %v, %v", s.sink.name, c.topic, on, err)
	if err == nil {
		s.mu.Lock()
		s.changes = append(s.changes, c)
		s.mu.Unlock()
	}
}

// step does one thing.
func (w *world) step() {
	m, r := w.mood, w.r
	t := w.tabs[r.IntN(len(w.tabs))]
	n := w.node()
	switch k := r.IntN(100); {
	case k < 30:
		for range 1 + r.IntN(6) {
			w.publish(w.node())
		}
	case k < 45: // come, or move at once to another node
		w.hangUpMaybe(t)
		w.connect(t, n)
	case k < 49:
		t.hangUp()
	case k < 53 && m.oldCursors && t.current != nil: // as a page that was restored
		t.hangUp()
		if id := w.oldCursor(t); id != "" {
			t.lastID = id
		}
		w.connect(t, n)
	case k < 58 && m.stalls:
		if t.current != nil {
			t.current.sink.stall(r.IntN(3) != 0)
		}
	case k < 64 && m.joins:
		w.connChange(t, r.IntN(2) == 0)
	case k < 69 && m.joins:
		w.clusterChange(n, []operation{opJoin, opLeave}[r.IntN(2)])
	case k < 71 && m.disconnects:
		w.clusterChange(n, opDisconnect)
	case k < 74 && m.cuts:
		w.diary.note("cut %s", n.name)
		n.line.Cut([]backplanetest.Outage{backplanetest.Hang, backplanetest.Refuse}[r.IntN(2)])
	case k < 78:
		w.diary.note("heal %s", n.name)
		n.line.Heal()
	case k < 80 && m.slow:
		w.slow(n)
	case k < 82 && m.lossy:
		w.lossy(n)
	case k < 84 && m.trims:
		w.diary.note("trim")
		w.truth.tamper.Trim(r.IntN(6))
	case k < 86 && m.marks:
		w.truth.mark(r.IntN(2) == 0)
	case k < 87 && m.epochs:
		w.truth.newEpoch(r.IntN(3) * r.IntN(4))
	case k < 88 && m.rollbacks:
		w.truth.rollback(1 + r.IntN(5))
	case k == 88 && m.loses && r.IntN(3) == 0:
		w.truth.loseAll()
	case k == 89 && m.crashes && len(w.nodes) > 1:
		i := slices.Index(w.nodes, n)
		w.crash(n)
		w.boot(i)
	case k == 90 && m.lapses:
		w.diary.note("lapse %s", n.name)
		w.truth.tamper.Lapse(n.rosterID())
	case k == 91 && m.drains && r.IntN(2) == 0:
		w.drain(n)
	case k < 97:
		time.Sleep(time.Duration(r.Int64N(int64(w.mood.hurry) + 1)))
	default:
		time.Sleep(time.Duration(r.Int64N(int64(4 * time.Second))))
	}
}

func (n *modelNode) rosterID() string {
	select {
	case <-n.broker.node.reached:
		return n.broker.roster.id()
	default:
		return ""
	}
}

func (w *world) hangUpMaybe(t *tab) {
	if t.current != nil {
		t.hangUp()
	}
}

// oldCursor returns an id that the tab has had once.
func (w *world) oldCursor(t *tab) string {
	s := t.sessions[w.r.IntN(len(t.sessions))]
	if s.garbage {
		return ""
	}
	id := s.sentID
	blocks := s.sink.received()
	if len(blocks) > 0 {
		if b := blocks[w.r.IntN(len(blocks))]; b.hasID {
			id = b.id
		}
	}
	return id
}

func (w *world) slow(n *modelNode) {
	w.diary.note("slow %s", n.name)
	switch w.r.IntN(4) {
	case 0:
		n.line.Late(0, time.Duration(w.r.IntN(2000))*time.Millisecond)
	case 1:
		n.line.Delay(0, time.Duration(w.r.IntN(800))*time.Millisecond)
	case 2:
		n.line.Split(1 + w.r.IntN(3))
	case 3:
		n.line.Freeze()
	}
}

func (w *world) lossy(n *modelNode) {
	w.diary.note("lossy %s", n.name)
	ops := []backplanetest.Op{
		backplanetest.Publish, backplanetest.Publish, backplanetest.Publish, backplanetest.Read, backplanetest.Bounds, backplanetest.NewEpoch,
		backplanetest.Renew, backplanetest.Update, backplanetest.Collect, backplanetest.Settle, backplanetest.Put, backplanetest.Facts,
	}
	if w.r.IntN(4) == 0 {
		n.line.FailRate(backplanetest.When(w.r.IntN(2)), w.r.Float64()/2)
		return
	}
	n.line.Fail(ops[w.r.IntN(len(ops))], backplanetest.When(w.r.IntN(2)), 1+w.r.IntN(3))
}

// drain shuts a node down in the background and puts another one in its place.
func (w *world) drain(n *modelNode) {
	i := slices.Index(w.nodes, n)
	n.closing = true
	w.diary.note("drain %s", n.name)
	patience := time.Duration(w.r.IntN(3000)) * time.Millisecond
	w.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = n.broker.Shutdown(ctx)
		_ = n.broker.Close()
	})
	w.boot(i)
}

// follow lets browsers whose connection has ended come back.
func (w *world) comeBack() {
	for _, t := range w.tabs {
		if t.current != nil && !t.open() && w.r.IntN(2) == 0 {
			t.hangUp()
			w.connect(t, w.node())
		}
	}
}

// run is the whole life of a world.
func (w *world) run() {
	for range w.mood.steps {
		w.step()
		w.comeBack()
		if w.r.IntN(4) == 0 {
			synctest.Wait()
		}
	}
	w.settle()
	w.check()
	for _, t := range w.tabs {
		t.hangUp()
	}
	time.Sleep(2 * modelLease)
	w.checkEndings()
	for _, n := range w.nodes {
		if err := n.broker.Close(); err != nil {
			w.failf("closing node %s: %v", n.name, err)
		}
	}
	w.wg.Wait()
	_ = w.truth.direct.Close(context.Background())
}

// settle ends all faults and brings everybody to a node, and waits until nothing
// is left to be done.
func (w *world) settle() {
	w.diary.note("settle")
	for _, n := range w.nodes {
		n.line.Calm()
	}
	for range 10 {
		time.Sleep(2 * time.Second)
		for _, t := range w.tabs {
			if t.current != nil {
				t.current.sink.stall(false)
			}
			if !t.open() {
				t.hangUp()
				w.connect(t, w.node())
				t.current.sink.change(func() { t.current.sink.breakIn = 0 })
			}
		}
	}
	time.Sleep(8 * time.Second)
	synctest.Wait()
}
