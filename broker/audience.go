package broker

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"

	"github.com/sseplane/sseplane/backplane"
)

// Audience says to whom an event goes. Make one with [Everyone], [Topics],
// [ToClient] or [ToSession]; the zero Audience is nobody, and an error of publishing.
type Audience struct {
	kind  kind
	names []string // sorted, unique; empty for everyone
}

// kind tells names apart, so that a topic of the application can never be
// taken for a client or for the broadcast.
type kind uint8

const (
	kindNone kind = iota
	kindEveryone
	kindTopic
	kindClient
	kindSession
)

// Everyone is all sessions of the namespace.
func Everyone() Audience { return Audience{kind: kindEveryone} }

// Topics is the sessions that follow at least one of the topics. The event is
// one entry of the log and reaches each of these sessions once.
func Topics(topics ...string) Audience {
	names := slices.Clone(topics)
	slices.Sort(names)
	return Audience{kind: kindTopic, names: slices.Compact(names)}
}

// ToClient is all sessions of a client.
func ToClient(clientId string) Audience {
	return Audience{kind: kindClient, names: []string{clientId}}
}

// ToSession is one session. Its events are not replayed to the session that a
// client opens in its place.
func ToSession(sessionId string) Audience {
	return Audience{kind: kindSession, names: []string{sessionId}}
}

// maxAudience bounds how many topics one event can name.
const maxAudience = 1000

func (a Audience) validate() error {
	switch {
	case a.kind == kindNone:
		return invalidName("audience", errors.New("the zero Audience is nobody"))
	case a.kind != kindEveryone && len(a.names) == 0:
		return invalidName("audience", errors.New("no topic is named"))
	case len(a.names) > maxAudience:
		return invalidName("audience", errors.New("more than 1000 topics are named"))
	}
	for _, name := range a.names {
		if err := backplane.ValidName(name); err != nil {
			return invalidName(a.kind.String(), err)
		}
	}
	return nil
}

func (k kind) String() string {
	switch k {
	case kindEveryone:
		return "everyone"
	case kindTopic:
		return "topic"
	case kindClient:
		return "client"
	case kindSession:
		return "session"
	}
	return "audience"
}

// key is an index key of the node: a kind and a name.
type key struct {
	kind kind
	name string
}

// keys returns the keys under which an event to a is found.
func (a Audience) keys() []key {
	if a.kind == kindEveryone {
		return []key{{kind: kindEveryone}}
	}
	keys := make([]key, len(a.names))
	for i, name := range a.names {
		keys[i] = key{a.kind, name}
	}
	return keys
}

// scopedKey makes an application's idempotency key count once per audience.
func (a Audience) scopedKey(k string) string {
	if k == "" {
		return ""
	}
	h := sha256.New()
	h.Write([]byte{byte(a.kind)})
	for _, name := range append(slices.Clone(a.names), k) {
		h.Write([]byte{byte(len(name) >> 16), byte(len(name) >> 8), byte(len(name))})
		h.Write([]byte(name))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:24])
}
