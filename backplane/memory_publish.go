package backplane

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var errOtherContent = errors.New("backplane: batch is repeated with other content")

// maxKeyLen is the longest Message.Key.
const maxKeyLen = 64

func (b Batch) validate() error {
	if err := ValidName(b.Producer); err != nil {
		return fmt.Errorf("backplane: producer: %w", err)
	}
	if b.Number == 0 {
		return errors.New("backplane: batch has no number")
	}
	if len(b.Messages) == 0 {
		return errors.New("backplane: batch is empty")
	}
	for i := range b.Messages {
		if !validKey(b.Messages[i].Key) {
			return fmt.Errorf("backplane: key %q is not at most %d of [0-9A-Za-z_-]", b.Messages[i].Key, maxKeyLen)
		}
	}
	return nil
}

func validKey(key string) bool {
	for i := range len(key) {
		c := key[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return len(key) <= maxKeyLen
}

// copies returns the data of each message in one block of memory: they come
// and go together.
func (b Batch) copies() [][]byte {
	total := 0
	for i := range b.Messages {
		total += len(b.Messages[i].Data)
	}
	block := make([]byte, 0, total)
	out := make([][]byte, len(b.Messages))
	for i := range b.Messages {
		start := len(block)
		block = append(block, b.Messages[i].Data...)
		out[i] = block[start:len(block):len(block)]
	}
	return out
}

func (l *memoryLog) Publish(ctx context.Context, b Batch) ([]Position, error) {
	if err := b.validate(); err != nil {
		return nil, err
	}
	data := b.copies()
	ns, err := l.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer ns.mu.Unlock()
	now := time.Now()
	ns.cfg = l.cfg
	ns.once.forget(ns.cfg, now)
	if positions, ok, err := ns.once.repeated(b, now); ok || err != nil {
		return positions, err
	}

	positions := make([]Position, len(b.Messages))
	for i := range b.Messages {
		key := b.Messages[i].Key
		if first, ok := ns.once.keys.get(key); ok && key != "" {
			positions[i] = first.position
			continue
		}
		positions[i] = ns.history.append(data[i], false, now)
		if key != "" {
			ns.once.keys.set(key, keyed{position: positions[i], at: now})
		}
	}
	ns.once.published(b, positions, now)
	ns.trimmed(now)
	ns.changed()
	return positions, nil
}
