package backplane

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
	"sync"
)

// Memory is a bus in the memory of one process. Brokers that share a Memory
// form a cluster; its contents live as long as it does.
//
// It keeps the whole promise of this package. It has no goroutine of its own and
// waits for nothing but channels, so it works under testing/synctest. An entry
// counts 64 bytes towards [Config.RetentionBytes] besides its data; entries
// too old are let go of whenever the namespace is next used. Entries of any size
// are accepted: it never returns [ErrTooLarge].
//
// Create one with [NewMemory], or use the zero Memory, which is an empty bus too. It
// needs no closing.
type Memory struct {
	tagged bool
	holes  bool

	mu         sync.Mutex            // guards what follows
	namespaces map[string]*namespace // never shrinks
	seeded     *mathrand.Rand        // nil: randomness that nobody can foresee
}

var _ Backplane = (*Memory)(nil)

// MemoryOption is an option of [NewMemory].
type MemoryOption func(*Memory)

// WithSeed makes everything that a [Memory] draws by lot, such as the names of
// its epochs, follow from seed, so that a test can be run again as it was.
func WithSeed(seed uint64) MemoryOption {
	return func(m *Memory) { m.seeded = mathrand.New(mathrand.NewPCG(seed, seed)) }
}

// WithTags makes a [Memory] behave like a bus that gives numbers out again
// after a restore ([Tamper.Rollback]): its positions carry a [Position.Tag].
// Without it a number is never given out twice in an epoch.
func WithTags() MemoryOption { return func(m *Memory) { m.tagged = true } }

// WithHoles makes a [Memory] leave numbers out between entries, as a bus may
// whose numbers are times.
func WithHoles() MemoryOption { return func(m *Memory) { m.holes = true } }

// NewMemory returns an empty bus.
func NewMemory(opts ...MemoryOption) *Memory {
	m := new(Memory)
	for _, opt := range opts {
		opt(m)
	}
	return m
}

// Open implements [Backplane]. It fails only on a bad configuration or when ctx
// has ended.
func (m *Memory) Open(ctx context.Context, cfg Config) (Log, error) {
	if m == nil {
		return nil, errors.New("backplane: the Memory is nil")
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ns := m.namespace(cfg.Namespace)
	ns.mu.Lock()
	ns.cfg = cfg
	ns.mu.Unlock()
	return &memoryLog{ns: ns, cfg: cfg, closed: make(chan struct{}), idle: make(chan struct{})}, nil
}

func (m *Memory) namespace(name string) *namespace {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.namespaces == nil {
		m.namespaces = make(map[string]*namespace)
	}
	ns := m.namespaces[name]
	if ns == nil {
		ns = &namespace{bus: m}
		ns.reset(m.epochLocked())
		m.namespaces[name] = ns
	}
	return ns
}

// newEpoch returns a name that no other epoch has.
func (m *Memory) newEpoch() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.epochLocked()
}

func (m *Memory) epochLocked() string {
	if m.seeded == nil {
		return strings.ToLower(rand.Text()[:12])
	}
	s := strconv.FormatUint(m.seeded.Uint64(), 36)
	return s[:min(len(s), 12)]
}

// namespace is one log and one register.
type namespace struct {
	bus *Memory

	mu       sync.Mutex // guards all that follows
	cfg      Config     // of the node that wrote last
	history  history
	once     once
	register register
	// wake is closed when the log changes; nil while nobody waits for that.
	wake chan struct{}
}

// reset makes the namespace what it was before its first use, but for its
// configuration.
func (ns *namespace) reset(epoch string) {
	ns.history = history{epoch: epoch, tagged: ns.bus.tagged, holes: ns.bus.holes}
	ns.history.began = Position{Epoch: epoch}
	ns.history.first = ns.history.began
	ns.once = newOnce()
	ns.register = newRegister()
}

// changed wakes all followers. The caller holds ns.mu.
func (ns *namespace) changed() {
	if ns.wake != nil {
		close(ns.wake)
		ns.wake = nil
	}
}

// change returns a channel that is closed at the next change of the log. The
// caller holds ns.mu.
func (ns *namespace) change() <-chan struct{} {
	if ns.wake == nil {
		ns.wake = make(chan struct{})
	}
	return ns.wake
}
