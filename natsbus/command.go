package natsbus

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// command is a change of the register, as it stands in its stream. Every node applies
// every command, in the order of the stream, with the time at which the server
// stored it, and so all have the same register. That is why nothing but the
// command and the register before it may have a say in what it does, and why what
// an operation does must never change under its name: a cluster runs two versions
// of the library during each deployment.
type command struct {
	Version int       `json:"v"`
	ID      string    `json:"id"` // of this command, for who waits for its result
	Op      operation `json:"op"`

	Node  string        `json:"node,omitempty"`
	TTL   time.Duration `json:"ttl,omitempty"`
	Add   []sessionJSON `json:"add,omitempty"`
	End   []string      `json:"end,omitempty"`
	Max   int           `json:"max,omitempty"`
	Redo  []string      `json:"redo,omitempty"` // ids of commands whose results never arrived
	Debts []debtKey     `json:"debts,omitempty"`
	Facts []factJSON    `json:"facts,omitempty"`
	Epoch string        `json:"epoch,omitempty"` // the log's present one

	// Of the configuration of whoever wrote this.
	Grace time.Duration `json:"grace"`
	Keep  time.Duration `json:"keep"` // for how long ended sessions are remembered

	// Of a head: where the snapshot's state ends, and the sequences of its parts.
	Base  uint64   `json:"base,omitempty"`
	Parts []uint64 `json:"parts,omitempty"`
}

type operation string

const (
	opLook    operation = "look" // nothing: that it arrives says that all before it has
	opRenew   operation = "renew"
	opRelease operation = "release"
	opUpdate  operation = "update"
	opCollect operation = "collect"
	opSettle  operation = "settle"
	opPut     operation = "put"
	opHead    operation = "head"
)

// commandVersion is that of the commands that this version writes and knows.
const commandVersion = 1

// parseCommand reads a command. It returns errForeign for what is none.
func parseCommand(data []byte) (c command, err error) {
	if data = unpack(data); data == nil || json.Unmarshal(data, &c) != nil || c.Version == 0 {
		return c, errForeign
	}
	if c.Version != commandVersion {
		return c, fmt.Errorf("%w: register command %d", errVersion, c.Version)
	}
	switch c.Op {
	case opLook, opRenew, opRelease, opUpdate, opCollect, opSettle, opPut, opHead:
		return c, nil
	}
	return c, fmt.Errorf("%w: register command %q", errVersion, c.Op)
}

type sessionJSON struct {
	ID     string   `json:"i"`
	Client string   `json:"c"`
	Name   string   `json:"n,omitempty"` // of the node, for people
	Topics []string `json:"t,omitempty"`
}

func sessionsJSON(sessions []backplane.Session) []sessionJSON {
	out := make([]sessionJSON, len(sessions))
	for i, s := range sessions {
		out[i] = sessionJSON{s.ID, s.Client, s.NodeName, s.Topics}
	}
	return out
}

func (s *sessionJSON) session(node string) backplane.Session {
	return backplane.Session{ID: s.ID, Client: s.Client, Node: node, NodeName: s.Name, Topics: s.Topics}
}

// debtKey is what a debt is about: a session by its id, or a client that left.
type debtKey struct {
	Kind backplane.DebtKind `json:"k"`
	Name string             `json:"n"`
}

func keyOf(d backplane.Debt) debtKey {
	if d.Kind == backplane.ClientLeft {
		return debtKey{d.Kind, d.Session.Client}
	}
	return debtKey{d.Kind, d.Session.ID}
}

type factJSON struct {
	Client  string             `json:"c"`
	Kind    backplane.FactKind `json:"k"`
	Name    string             `json:"n,omitempty"`
	Value   []byte             `json:"b,omitempty"`
	Version string             `json:"v,omitempty"`
	TTL     time.Duration      `json:"ttl,omitempty"`
	Until   int64              `json:"u,omitempty"` // in a snapshot, in place of TTL
}
