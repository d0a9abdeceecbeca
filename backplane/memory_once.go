package backplane

import (
	"slices"
	"time"
)

// once is what a namespace remembers of publishes so that each counts once.
type once struct {
	producers *ordered[string, producer] // the one that published last is last
	keys      *ordered[string, keyed]    // in the order of acceptance
}

// producer is a node's last batch.
type producer struct {
	number    uint64
	positions []Position
	at        time.Time
}

// keyed is the first message with a key.
type keyed struct {
	position Position
	at       time.Time
}

func newOnce() once {
	return once{producers: newOrdered[string, producer](), keys: newOrdered[string, keyed]()}
}

// forget lets go of what has been remembered for long enough.
func (o *once) forget(cfg Config, now time.Time) {
	for name, p := range o.producers.all() {
		if now.Sub(p.at) <= cfg.RetentionAge {
			break
		}
		o.producers.delete(name)
	}
	for key, k := range o.keys.all() {
		if now.Sub(k.at) <= cfg.IdempotencyWindow {
			break
		}
		o.keys.delete(key)
	}
}

// repeated returns the positions of a batch that has been published before.
func (o *once) repeated(b Batch, now time.Time) (positions []Position, ok bool, err error) {
	p, ok := o.producers.get(b.Producer)
	switch {
	case !ok || b.Number > p.number:
		return nil, false, nil
	case b.Number < p.number:
		return nil, false, ErrOldBatch
	case len(p.positions) != len(b.Messages):
		return nil, false, errOtherContent
	}
	p.at = now
	o.producers.moveToBack(b.Producer, p)
	return slices.Clone(p.positions), true, nil
}

// published remembers a batch.
func (o *once) published(b Batch, positions []Position, now time.Time) {
	o.producers.moveToBack(b.Producer, producer{number: b.Number, positions: slices.Clone(positions), at: now})
}
