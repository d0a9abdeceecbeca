package redisbus

import (
	"fmt"
	"strings"
)

// keys are the names of a namespace's keys. They share a hash tag, so that a
// Cluster keeps them in one slot.
type keys struct {
	base string

	// The log.
	meta, log, marks            string
	idempotency, idempotencyOld string

	// The register.
	leases, swept            string
	sessions, clients, nodes string
	owed, debts, collected   string
	left                     string
	ended, endedOld          string
}

func newKeys(prefix, namespace string) keys {
	base := prefix + ":{" + encode(namespace) + "}:"
	return keys{
		base:           base,
		meta:           base + "meta",
		log:            base + "log",
		marks:          base + "marks",
		idempotency:    base + "keys",
		idempotencyOld: base + "keys.old",
		leases:         base + "leases",
		swept:          base + "swept",
		sessions:       base + "sessions",
		clients:        base + "clients",
		nodes:          base + "nodes",
		owed:           base + "owed",
		debts:          base + "debts",
		collected:      base + "collected",
		left:           base + "left",
		ended:          base + "ended",
		endedOld:       base + "ended.old",
	}
}

// facts is the key of a client's facts.
func (k *keys) facts(client string) string { return k.base + "facts:" + client }

// ofPublish are the keys of publish.lua.
func (k *keys) ofPublish() []string {
	return []string{k.meta, k.log, k.marks, k.idempotency, k.idempotencyOld}
}

// ofRegister are the keys of update.lua, and the first ten of collect.lua.
func (k *keys) ofRegister() []string {
	return []string{k.leases, k.swept, k.sessions, k.clients, k.nodes, k.owed, k.debts, k.left, k.ended, k.endedOld}
}

// ofRenew are all keys but facts, which live on their own.
func (k *keys) ofRenew() []string {
	return []string{
		k.meta, k.leases, k.swept,
		k.log, k.marks, k.idempotency, k.idempotencyOld,
		k.sessions, k.clients, k.nodes, k.owed, k.debts, k.collected, k.left, k.ended, k.endedOld,
	}
}

// encode makes a name safe between the braces of a hash tag, and legible in the
// patterns of an ACL and of redis-cli: bytes that could be taken for something else
// are written as %XX. Different names stay different.
func encode(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c == 0x7f || strings.IndexByte(`%{}*?[]\^"'`, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
