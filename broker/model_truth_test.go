package broker

import (
	"context"
	"regexp"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// truth stands between the memory and the faults, and writes down what the bus has
// really done: the model's idea of the log, made without the broker's help.
type truth struct {
	mem       *backplane.Memory
	tamper    *backplane.Tamper
	direct    backplane.Log // a way to the bus that has no faults
	namespace string
	diary     *diary

	mu      sync.Mutex // guards the rest
	clock   int        // counts everything that happens
	entries []*logged  // in the order in which the bus accepted them
	byPos   map[backplane.Position]*logged
	bySer   map[int][]*logged
	epochs  map[string]*history
	marks   map[backplane.Position]int // places without an entry of the model's: ord
	current string
	lost    bool // the bus has lost the register once

	registered map[string]int    // sessions that the register has had: since when (clock)
	settled    map[string]bool   // sessions whose callback is done with
	owner      map[string]string // who owes it
	errs       []string
}

// logged is one entry of the log.
type logged struct {
	pos     backplane.Position
	ord     int // place in truth.entries
	time    time.Time
	serial  int // of the model's publication; 0: none
	control *control
	lost    bool
}

// history is what the model knows of an epoch.
type history struct {
	startOrd  int
	rollbacks int
	highest   uint64
}

var serialMark = regexp.MustCompile(`#(\d+);`)

func serialOf(data string) int {
	m := serialMark.FindStringSubmatch(data)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

func newTruth(mem *backplane.Memory, cfg backplane.Config) (*truth, error) {
	log, err := mem.Open(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	b, err := log.Bounds(context.Background())
	if err != nil {
		return nil, err
	}
	return &truth{
		mem: mem, tamper: mem.Tamper(cfg.Namespace), direct: log, namespace: cfg.Namespace,
		byPos: make(map[backplane.Position]*logged), bySer: make(map[int][]*logged),
		epochs: map[string]*history{b.Epoch: {}}, current: b.Epoch, marks: make(map[backplane.Position]int),
		registered: make(map[string]int), settled: make(map[string]bool), owner: make(map[string]string),
	}, nil
}

func (t *truth) failf(format string, args ...any) {
	t.errs = append(t.errs, sprintf(format, args...))
}

// tick counts an occurrence.
func (t *truth) tick() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	return t.clock
}

// ord returns how many entries the bus has accepted so far.
func (t *truth) ord() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}

// bounds asks the bus itself.
func (t *truth) bounds() backplane.Bounds {
	b, _ := t.direct.Bounds(context.Background())
	return b
}

func (t *truth) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	log, err := t.mem.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &truthLog{Log: log, t: t}, nil
}

type truthLog struct {
	backplane.Log
	t *truth
}

func (l *truthLog) Publish(ctx context.Context, b backplane.Batch) ([]backplane.Position, error) {
	t := l.t
	t.mu.Lock()
	defer t.mu.Unlock()
	positions, err := l.Log.Publish(ctx, b)
	if err != nil {
		return nil, err
	}
	for i, pos := range positions {
		if t.byPos[pos] != nil {
			continue
		}
		if pos.Epoch != t.current {
			continue // a key of a history that is gone
		}
		t.clock++
		e := &logged{pos: pos, ord: len(t.entries) + 1, time: time.Now()}
		if in, err := decodeEntry(backplane.Entry{Position: pos, Data: b.Messages[i].Data}); err == nil && in.control != nil {
			e.control = in.control
		} else {
			e.serial = serialOf(string(b.Messages[i].Data))
		}
		t.entries = append(t.entries, e)
		t.diary.note("log: %v #%d %+v", pos, e.serial, e.control)
		t.byPos[pos] = e
		h := t.epochs[pos.Epoch]
		h.highest = max(h.highest, pos.Seq)
		if e.serial == 0 {
			continue
		}
		for _, other := range t.bySer[e.serial] {
			if !other.lost && other.pos.Epoch == pos.Epoch && h.rollbacks == 0 {
				t.failf("event #%d was appended twice: at %v and %v", e.serial, other.pos, pos)
			}
		}
		t.bySer[e.serial] = append(t.bySer[e.serial], e)
	}
	return positions, nil
}

// lose notes what is behind the end of the log. The lock is held.
func (t *truth) lose() {
	b := t.bounds()
	for _, e := range t.entries {
		if e.pos.Epoch == b.Epoch && e.pos.Seq > b.Last.Seq {
			e.lost = true
		}
	}
}

func (t *truth) moved(epoch string) {
	if t.epochs[epoch] == nil {
		t.epochs[epoch] = &history{startOrd: len(t.entries)}
		t.current = epoch
	}
}

func (l *truthLog) NewEpoch(ctx context.Context, old string) (backplane.Bounds, error) {
	t := l.t
	t.mu.Lock()
	defer t.mu.Unlock()
	b, err := l.Log.NewEpoch(ctx, old)
	if err == nil && t.epochs[b.Epoch] == nil {
		if t.epochs[old].rollbacks == 0 {
			t.failf("a node declared a new epoch after %s, which had lost nothing", old)
		}
		t.moved(b.Epoch)
		t.diary.note("log: new epoch %+v", b)
	}
	return b, err
}

func (l *truthLog) Update(ctx context.Context, node string, add []backplane.Session, end []string) (backplane.UpdateResult, error) {
	t := l.t
	t.mu.Lock()
	defer t.mu.Unlock()
	r, err := l.Log.Update(ctx, node, add, end)
	t.diary.note("register: %s adds %v ends %v: %v %v", node, add, end, r, err)
	if err == nil {
		t.clock++
		for _, s := range add {
			if t.registered[s.ID] == 0 {
				t.registered[s.ID] = t.clock
			}
		}
		for _, d := range r.Ended {
			t.owner[d.Session.ID] = node
		}
	}
	return r, err
}

func (l *truthLog) Settle(ctx context.Context, node string, debts []backplane.Debt) error {
	t := l.t
	t.mu.Lock()
	defer t.mu.Unlock()
	err := l.Log.Settle(ctx, node, debts)
	if err == nil {
		for _, d := range debts {
			if d.Kind == backplane.SessionEnded && t.owner[d.Session.ID] == node {
				t.settled[d.Session.ID] = true
			}
		}
	}
	return err
}

// rollback loses the newest n entries, with or without the epoch changing at once.
func (t *truth) rollback(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	t.diary.note("log: loses")
	t.epochs[t.current].rollbacks++
	t.tamper.Rollback(n)
	t.lose()
}

// mark makes a place in the log without an event: a mark of the bus, or something foreign.
func (t *truth) mark(foreign bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if foreign {
		t.tamper.Foreign()
	} else {
		t.tamper.Mark()
	}
	t.marks[t.bounds().Last] = len(t.entries)
}

func (t *truth) newEpoch(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	t.diary.note("log: loses")
	t.epochs[t.current].rollbacks++
	t.tamper.Rollback(n)
	t.lose()
	t.tamper.NewEpoch(0)
	t.moved(t.bounds().Epoch)
}

func (t *truth) loseAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	t.diary.note("log: loses")
	t.epochs[t.current].rollbacks++
	t.lost = true
	t.tamper.Lose()
	for _, e := range t.entries {
		if e.pos.Epoch == t.current {
			e.lost = true
		}
	}
	t.moved(t.bounds().Epoch)
}

// ordOf returns up to which entry a position reaches. The lock is held.
func (t *truth) ordOf(p backplane.Position) int {
	if e := t.byPos[p]; e != nil {
		return e.ord
	}
	if ord, ok := t.marks[p]; ok {
		return ord
	}
	h := t.epochs[p.Epoch]
	if h == nil {
		return 0
	}
	ord := h.startOrd
	for _, e := range t.entries[h.startOrd:] {
		if e.pos.Epoch == p.Epoch && e.pos.Seq <= p.Seq && !(e.lost && e.pos.Seq == p.Seq && p.Tag != 0) {
			ord = e.ord
		}
	}
	return ord
}

// isAgain reports whether the entry's number, or a later one, had been given out before.
func (t *truth) isAgain(e *logged) bool {
	for _, other := range t.entries[:e.ord-1] {
		if other.pos.Epoch == e.pos.Epoch && other.pos.Seq >= e.pos.Seq {
			return true
		}
	}
	for pos, ord := range t.marks {
		if pos.Epoch == e.pos.Epoch && pos.Seq >= e.pos.Seq && ord < e.ord {
			return true
		}
	}
	return false
}

// between returns the entries behind from, up to and with to, that are not lost.
func (t *truth) between(epoch string, from, to int) []*logged {
	i := sort.Search(len(t.entries), func(i int) bool { return t.entries[i].ord > from })
	var out []*logged
	for ; i < len(t.entries) && t.entries[i].ord <= to; i++ {
		if e := t.entries[i]; !e.lost && e.pos.Epoch == epoch {
			out = append(out, e)
		}
	}
	return out
}

func (l *truthLog) Put(ctx context.Context, facts []backplane.Fact) error {
	err := l.Log.Put(ctx, facts)
	l.t.diary.note("register: put %v: %v", facts, err)
	return err
}

func (l *truthLog) Facts(ctx context.Context, clients ...string) ([]backplane.Fact, error) {
	facts, err := l.Log.Facts(ctx, clients...)
	l.t.diary.note("register: facts of %v: %v %v", clients, facts, err)
	return facts, err
}

func (l *truthLog) Collect(ctx context.Context, node string, limit int) ([]backplane.Debt, error) {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	debts, err := l.Log.Collect(ctx, node, limit)
	for _, d := range debts {
		if d.Kind == backplane.SessionEnded {
			l.t.owner[d.Session.ID] = node
		}
	}
	l.t.diary.note("register: %s collects %v %v", node, debts, err)
	return debts, err
}

func (l *truthLog) Renew(ctx context.Context, node string, ttl time.Duration) error {
	err := l.Log.Renew(ctx, node, ttl)
	if err != nil {
		l.t.diary.note("register: %s renews: %v", node, err)
	}
	return err
}
