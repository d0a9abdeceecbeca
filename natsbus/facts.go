package natsbus

import (
	"cmp"
	"slices"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// factStore holds facts until their time is over.
type factStore struct {
	byClient map[string][]storedFact // each slice sorted by order
	count    int
	// sweepAt is the count at which those whose time is over are looked for.
	sweepAt int
}

type storedFact struct {
	backplane.Fact
	until time.Time
}

const minFactSweep = 256

func newFactStore() factStore {
	return factStore{byClient: make(map[string][]storedFact), sweepAt: minFactSweep}
}

func factOrder(a, b backplane.Fact) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// put writes a fact; epoch is the present one.
func (fs *factStore) put(j *factJSON, epoch string, now time.Time) {
	if fs.count >= fs.sweepAt {
		fs.sweep(now)
	}
	until := now.Add(j.TTL)
	f := backplane.Fact{Client: j.Client, Kind: j.Kind, Name: j.Name, Value: j.Value}
	if j.Version != "" {
		f.Version, _ = backplane.ParsePosition(j.Version) // was written by String
	}
	facts := fs.byClient[f.Client]
	i, ok := slices.BinarySearchFunc(facts, f, func(s storedFact, f backplane.Fact) int { return factOrder(s.Fact, f) })
	if !ok {
		fs.byClient[f.Client] = slices.Insert(facts, i, storedFact{f, until})
		fs.count++
		return
	}
	if was := facts[i]; was.until.After(now) {
		switch {
		case f.Version.IsZero():
			f.Version = was.Version
		case newer(was.Version, f.Version, epoch):
			f = was.Fact
		}
	}
	facts[i] = storedFact{f, until}
}

// newer reports whether version a is newer than b; epoch is the present one.
func newer(a, b backplane.Position, epoch string) bool {
	if a.Epoch == b.Epoch {
		return a.Seq > b.Seq
	}
	return a.Epoch == epoch
}

func (fs *factStore) appendTo(out []backplane.Fact, client string, now time.Time) []backplane.Fact {
	for _, f := range fs.byClient[client] {
		if f.until.After(now) {
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
