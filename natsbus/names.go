package natsbus

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// maxToken is the longest token that a name becomes. A subject has two of them
// at most, so that it stays far below the server's limit for a control line, and
// the name of a stream below the 255 bytes of a file name.
const maxToken = 80

// token returns name as one token of a subject, which may also stand in the name
// of a stream or a bucket. Different names give different tokens:
// [0-9A-Za-z-] stand for themselves, each other byte is _ and two hex digits, and
// what would get too long is __ and a hash, which no other name can give since a _
// is always followed by a digit.
func token(name string) string {
	const digits = "0123456789abcdef"
	var b []byte
	for i := range len(name) {
		switch c := name[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-':
			b = append(b, c)
		default:
			b = append(b, '_', digits[c>>4], digits[c&15])
		}
		if len(b) > maxToken {
			sum := sha256.Sum256([]byte(name))
			return "__" + hex.EncodeToString(sum[:24])
		}
	}
	return string(b)
}

// names are what a namespace's things are called on the server.
type names struct {
	log      string // the stream of the log
	register string // the stream of the register
	bucket   string // the key-value bucket of the epochs
	epoch    string // the namespace's key in bucket

	subjects string // root of all subjects of the namespace
}

func namesOf(prefix, namespace string) names {
	t := token(namespace)
	return names{
		log:      prefix + "-log-" + t,
		register: prefix + "-reg-" + t,
		bucket:   prefix + "-epochs",
		epoch:    t,
		subjects: prefix + "." + t,
	}
}

// The subjects of the log: batches without keys, messages with a key, marks.
// Each producer has its own, so that the server can hold it to its order.
func (n names) batches(producer string) string { return n.subjects + ".log.e.b." + token(producer) }
func (n names) keyed(producer string) string   { return n.subjects + ".log.e.k." + token(producer) }
func (n names) entries() string                { return n.subjects + ".log.e.>" }
func (n names) mark() string                   { return n.subjects + ".log.mark" }
func (n names) logSubjects() string            { return n.subjects + ".log.>" }

// The subjects of the register: changes, and the parts and the heads of
// snapshots.
func (n names) command() string          { return n.subjects + ".reg.c" }
func (n names) part() string             { return n.subjects + ".reg.p" }
func (n names) head() string             { return n.subjects + ".reg.h" }
func (n names) registerSubjects() string { return n.subjects + ".reg.>" }

// checkPrefix returns an error unless prefix can begin the names of streams,
// buckets and subjects. There is no - in it, so that no prefix and no
// namespace together make the name that others make.
func checkPrefix(prefix string) error {
	for i := range len(prefix) {
		c := prefix[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' {
			return fmt.Errorf("natsbus: prefix %q is not of [0-9A-Za-z_]", prefix)
		}
	}
	if prefix == "" || len(prefix) > 32 {
		return fmt.Errorf("natsbus: prefix %q is not 1 to 32 bytes long", prefix)
	}
	return nil
}
