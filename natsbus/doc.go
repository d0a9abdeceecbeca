// Package natsbus is the backplane on NATS JetStream, for one server or a cluster,
// of version 2.11 or later.
//
//	nc, err := nats.Connect("nats://a:4222,nats://b:4222,nats://c:4222")
//	...
//	bus, err := natsbus.New(nc, natsbus.WithReplicas(3))
//	...
//	b := broker.NewBroker(nil, broker.WithBackplane(bus))
//
// # What it promises
//
// The whole of [backplane.Log] and [backplane.Register], through restarts,
// elections, partitions and lost connections: every entry once and in order, or
// [backplane.ErrTrimmed] or [backplane.ErrEpoch]. A batch without keys is stored as a
// whole, its entries next to each other; messages with keys are stored one by one, in
// order unless the server refuses one in the middle (see the limits).
//
// An accepted entry is as safe as its stream: with one replica it dies with its
// server, with [WithReplicas](3) it survives the loss of one, with [WithMemoryStorage]
// not that of all at once. What is lost is reported as a new epoch, not hidden: a
// follower goes on only from a message that is still there, with the same time.
//
// A node that follows knows within 2 s that it is cut off, or that the server it
// is connected to hears no other: while the log is idle it stores a mark each
// half a second, which has to come back. It then goes to another server of the
// connection's list, if there is one; so name all of them.
//
// # Connections
//
// The connection given to [New] stays the application's and is only asked for
// its options: servers, credentials, TLS, dialers. Each open log makes two of its own
// with them, one to publish and one to follow. They reconnect for ever and at once,
// find a dead peer within 1.5 s, and have no reconnect buffer: what a caller has given
// up while disconnected is not published later. (What had been sent may still be
// stored; a repetition of the batch counts once.)
//
// # Names
//
// With the default prefix, a namespace whose token is T has
//
//	stream    sse-log-T     subjects sse.T.log.>   the log
//	stream    sse-reg-T     subjects sse.T.reg.>   the register
//	bucket    sse-epochs    key T                  the epoch; shared by all namespaces
//
// The token of a name is the name itself with each byte other than [0-9A-Za-z-]
// written as _ and two hex digits, or __ and a hash where that gets longer than 80
// bytes. Producers are encoded so too; clients, topics and sessions never stand
// in a subject.
//
// Streams are created by the node that comes first, and follow the
// configuration of the one that came last. One that is there and was not made by this
// library, or with another storage or kind, is [ErrForeignStream].
//
// # Permissions
//
// A node needs these, where * may be narrowed to the two streams and the bucket's
// KV_sse-epochs, and the namespace's subjects:
//
//	permit: publish: { allow: [
//	permit:   "sse.>", "$KV.sse-epochs.>",
//	permit:   "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*",
//	permit:   "$JS.API.STREAM.PURGE.*", "$JS.API.STREAM.MSG.GET.*", "$JS.API.DIRECT.GET.*",
//	permit:   "$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.DELETE.>", "$JS.API.CONSUMER.MSG.NEXT.>" ] }
//	permit: subscribe: { allow: [ "_INBOX.>" ] }
//
// Whoever may publish on sse.> may write to the log. What is there and was not
// written by this library has a place in the log and no data; a message's headers
// are not believed.
//
// # Size
//
// The log's stream holds Config.RetentionBytes. A message counts its data, 2 to 5 bytes
// for each entry, and about 200 bytes besides, for up to 128 KiB of entries that
// were published together. Marks count too: 160 bytes, two a second while nobody
// publishes, and one for each call of Bounds. Entries are let go of by age up to a quarter of
// Config.RetentionAge (a minute at most) late, as long as any node has the
// namespace open. The server keeps about 250 bytes of memory for each batch, and
// each message with a key, of the last Config.IdempotencyWindow.
//
// The register is a stream of changes, which each node applies to a copy of its own:
// about 600 bytes of memory for each session of the cluster, on every node, from the first
// call of a method of [backplane.Register] on. When the changes have become 1 MiB,
// and more than four times that copy, a node replaces them by a snapshot. A call
// stores one change, about 150 bytes and what it is about; calls of Presence, Sessions
// and Facts that come together store one between them.
//
// # Limits
//
// The largest entry is the server's max_payload less about 600 bytes: 1 MiB by
// default. It is [backplane.ErrTooLarge] beyond. What the register holds of one thing
// (a client's metadata, a session and its topics) is compressed where it is larger than half
// of max_payload, or than 256 KiB, and is ErrTooLarge where that does not make it fit.
//
// Order of keys: should a leader fall while several messages with keys are under way,
// one that it had lost is stored again behind the others of its batch. Their positions
// say so. A batch with keys that is published again after more than
// Config.IdempotencyWindow, by another Log than before, counts again.
//
// A batch is an error where the log was lost when part of it had been stored, and the
// rest was stored in the new one: repeated, it goes on being one.
//
// An Update of more than 1,000 sessions is stored as several changes; when it
// fails, some may have been made. It can be repeated.
//
// A killed leader means 4 to 8 s in which nothing is accepted, a full device that
// nothing is until the server is restarted: calls fail, at their deadlines. A rollback
// of the bus that happened while no node was there to see it is recognised by the tag
// in the positions of clients, 1 in 65,535 of which agree by chance.
//
// Tested with servers 2.15.2 and 2.11.17, not with those between. With 2.11.17 one thing
// fails: when all servers of a cluster with [WithMemoryStorage] were restarted, a batch may be refused
// for as long as it was watched (a minute; "duplicate message id is in process"). Not tested: gateways, leaf
// nodes, mirrors, JetStream domains (there is no option for one).
package natsbus
