package backplane

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// factStore holds facts until their time is over.
type factStore struct {
	byClient map[string][]storedFact // each slice sorted by factOrder
	count    int
	// sweepAt is the count at which those whose time is over are looked for: twice
	// what the last look left, so that it costs each Put little.
	sweepAt int
}

type storedFact struct {
	Fact
	until time.Time
}

// minFactSweep keeps a small store from being swept all the time.
const minFactSweep = 256

func newFactStore() factStore {
	return factStore{byClient: make(map[string][]storedFact), sweepAt: minFactSweep}
}

func factOrder(a, b Fact) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

func (l *memoryLog) Put(ctx context.Context, facts []Fact) error {
	for i := range facts {
		if err := ValidName(facts[i].Client); err != nil {
			return fmt.Errorf("backplane: client: %w", err)
		}
		if facts[i].TTL <= 0 {
			return fmt.Errorf("backplane: a fact's TTL of %v is not positive", facts[i].TTL)
		}
	}
	ns, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer ns.mu.Unlock()
	now := time.Now()
	for _, f := range facts {
		ns.register.facts.put(f, ns.history.epoch, now)
	}
	return nil
}

func (l *memoryLog) Facts(ctx context.Context, clients ...string) ([]Fact, error) {
	ns, err := l.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer ns.mu.Unlock()
	now := time.Now()
	var out []Fact
	seen := make(map[string]struct{}, len(clients))
	for _, c := range clients {
		if _, again := seen[c]; again {
			continue
		}
		seen[c] = struct{}{}
		out = ns.register.facts.appendTo(out, c, now)
	}
	return out, nil
}

// put writes a fact; epoch is the present one.
func (fs *factStore) put(f Fact, epoch string, now time.Time) {
	f.Value = bytes.Clone(f.Value)
	until := now.Add(f.TTL)
	f.TTL = 0
	if fs.count >= fs.sweepAt {
		fs.sweep(now)
	}
	facts := fs.byClient[f.Client]
	i, ok := slices.BinarySearchFunc(facts, f, func(s storedFact, f Fact) int { return factOrder(s.Fact, f) })
	if !ok {
		fs.byClient[f.Client] = slices.Insert(facts, i, storedFact{f, until})
		fs.count++
		return
	}
	was := &facts[i]
	if was.until.After(now) {
		f = was.Fact.replacedBy(f, epoch)
	}
	*was = storedFact{f, until}
}

// replacedBy returns what is known after next was put where f was.
func (f Fact) replacedBy(next Fact, epoch string) Fact {
	if next.Version.IsZero() {
		next.Version = f.Version
		return next
	}
	if f.Version.newerThan(next.Version, epoch) {
		return f
	}
	return next
}

// newerThan compares the versions of facts; epoch is the present one.
func (p Position) newerThan(q Position, epoch string) bool {
	if p.Epoch == q.Epoch {
		return p.Seq > q.Seq
	}
	return p.Epoch == epoch
}

func (fs *factStore) appendTo(out []Fact, client string, now time.Time) []Fact {
	for _, f := range fs.byClient[client] {
		if f.until.After(now) {
			f.Value = bytes.Clone(f.Value)
			out = append(out, f.Fact)
		}
	}
	return out
}

// sweep forgets the facts whose time is over.
func (fs *factStore) sweep(now time.Time) {
	fs.count = 0
	for client, facts := range fs.byClient {
		facts = slices.DeleteFunc(facts, func(f storedFact) bool { return !f.until.After(now) })
		if len(facts) == 0 {
			delete(fs.byClient, client)
			continue
		}
		fs.byClient[client] = facts
		fs.count += len(facts)
	}
	fs.sweepAt = max(minFactSweep, 2*fs.count)
}
