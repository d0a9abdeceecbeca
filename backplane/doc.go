// Package backplane is the contract between a broker and the bus on which
// brokers meet, and its implementation in memory.
//
// A bus holds, for each namespace, two things:
//
//   - one log: an ordered, bounded sequence of entries. Every node follows
//     all of it, from the position it has reached ([Log.Follow]).
//   - one register: who is connected where, under leases, and a few facts
//     about clients ([Register]).
//
// The broker owns policy: what an entry means, batching, retries, windows,
// resuming, who sweeps when. A backplane is a thin driver of what its bus does
// natively: append to a log, follow a log, read a log, hold leases. It never
// looks into [Message.Data] or [Fact.Value].
//
// # The promise of a log
//
// Positions of one epoch are strictly increasing in the order of the log.
// Whoever follows the log gets every entry once and in order, or an error that
// says why that is impossible: [ErrTrimmed] when the retention has passed over
// its position, [ErrEpoch] when the history that the position belongs to is
// gone, wholly or in its newest part. Trimming, flushing, rollback and failover
// never pass unseen. An implementation proves this by chaining: it hands out
// an entry only when it knows the entry's predecessor to be the one that it
// handed out last.
//
// # Errors
//
// A method fails with one of this package's errors, with the error of its
// context, or with an error of the bus, which means that the bus did not
// answer or refused, and that the caller may try again. A write that failed so
// may or may not have happened; each of them can be repeated as it was and then
// counts once.
//
// # Names
//
// Namespaces, clients, topics and session ids are any non-empty valid UTF-8 of at
// most 1024 bytes, spaces, dots, wildcards and line breaks included. An
// implementation encodes them as its bus needs.
//
// A user of the library never calls this package, but for [NewMemory]. The
// author of a bus implements [Backplane] and [Log] and runs the suite of
// package backplanetest.
package backplane
