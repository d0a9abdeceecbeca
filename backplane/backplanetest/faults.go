package backplanetest

import (
	"context"
	"errors"
	"sync"

	"github.com/sseplane/sseplane/backplane"
)

// Errors that stand for those of a bus.
var (
	// ErrCut is what a call returns whose connection is cut, and what a follower
	// is told then.
	ErrCut = errors.New("backplanetest: cut off from the bus")
	// ErrStale is what a follower is told whose server does not keep up.
	ErrStale = errors.New("backplanetest: the server is stale")
	// ErrInjected is what a call returns that was made to fail.
	ErrInjected = errors.New("backplanetest: the bus failed")
)

// Faults is a backplane that suffers what networks and servers do, at the
// command of a test. It keeps the contract in all that it does: whatever stands
// on it has no right to complain.
//
// Each node reaches the bus over a [Line] of its own, on which faults act; the
// methods Trim, Rollback, NewEpoch, Lose, Mark, Foreign and Lapse act on the bus,
// for all nodes. Time comes from package time alone, and what is drawn by lot
// depends only on the seed, the name of the line, the method and how many calls of
// it there were on the line: under testing/synctest a run can be repeated. The
// zero behaviour of each line is that of the wrapped backplane.
//
//	bus := backplanetest.NewFaults(backplane.NewMemory(), seed)
//	a := newBroker(bus.Line("a"))
//	b := newBroker(bus.Line("b"))
//	bus.Line("a").Cut(backplanetest.Hang)
//	// publish with b, see what a does
//	bus.Line("a").Heal()
type Faults struct {
	bus  backplane.Backplane
	seed uint64

	mu    sync.Mutex // guards lines
	lines map[string]*Line
}

var _ backplane.Backplane = (*Faults)(nil)

// NewFaults wraps a backplane.
func NewFaults(bus backplane.Backplane, seed uint64) *Faults {
	return &Faults{bus: bus, seed: seed, lines: make(map[string]*Line)}
}

// Open implements [backplane.Backplane]: it opens a log over the line named "".
func (f *Faults) Open(ctx context.Context, cfg backplane.Config) (backplane.Log, error) {
	return f.Line("").Open(ctx, cfg)
}

// Line returns the line with that name, always the same one.
func (f *Faults) Line(name string) *Line {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lines[name]
	if l == nil {
		l = newLine(f.bus, name, f.seed)
		f.lines[name] = l
	}
	return l
}

// each calls do with the lines that there are.
func (f *Faults) each(do func(*Line)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lines {
		do(l)
	}
}

// Cut cuts all lines that have been named so far; see [Line.Cut].
func (f *Faults) Cut(how Outage) { f.each(func(l *Line) { l.Cut(how) }) }

// Heal heals all lines; see [Line.Heal].
func (f *Faults) Heal() { f.each((*Line).Heal) }

// Calm ends all faults on all lines; see [Line.Calm].
func (f *Faults) Calm() { f.each((*Line).Calm) }

// tamperer is a backplane whose contents can be damaged, as a
// [backplane.Memory] can.
type tamperer interface {
	Tamper(namespace string) *backplane.Tamper
}

// Tamper returns the means to damage a namespace on the bus. It panics if the
// wrapped backplane has none: a [backplane.Memory] has.
func (f *Faults) Tamper(namespace string) *backplane.Tamper {
	t, ok := f.bus.(tamperer)
	if !ok {
		panic("backplanetest: the wrapped backplane cannot be tampered with")
	}
	return t.Tamper(namespace)
}

// Trim trims the log down to its newest keep entries, or one.
func (f *Faults) Trim(namespace string, keep int) { f.Tamper(namespace).Trim(keep) }

// Rollback loses the newest n entries under the same epoch, as a failover to a
// lagging replica does: it is for the nodes to find out and to call NewEpoch.
func (f *Faults) Rollback(namespace string, n int) { f.Tamper(namespace).Rollback(n) }

// NewEpoch loses the newest n entries, or none, and changes the epoch.
func (f *Faults) NewEpoch(namespace string, n int) { f.Tamper(namespace).NewEpoch(n) }

// Lose loses the log and the register, wholly.
func (f *Faults) Lose(namespace string) { f.Tamper(namespace).Lose() }

// Mark moves the end of the log without an entry.
func (f *Faults) Mark(namespace string) { f.Tamper(namespace).Mark() }

// Foreign appends an entry that no node has written: its Data is nil.
func (f *Faults) Foreign(namespace string) { f.Tamper(namespace).Foreign() }

// Lapse ends the lease of a node (by the id it gave to Renew) now. The node can renew
// it until another has collected from it.
func (f *Faults) Lapse(namespace, node string) { f.Tamper(namespace).Lapse(node) }
