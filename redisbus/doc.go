// Package redisbus is the backplane on Redis 6.2 and later, and on Valkey: a
// single server, one behind Sentinel, or a Cluster.
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//	bus, err := redisbus.New(client)
//	if err != nil {
//		...
//	}
//	b := broker.NewBroker(nil, broker.WithBackplane(bus))
//
// The client may also come from [redis.NewFailoverClient] or
// [redis.NewClusterClient]. It stays the caller's. Its timeouts and retries do not
// matter: the bus gives up on one attempt after a second, and repeats it, which is
// harmless, for some seconds or until the context of the call ends. Each
// follower has one connection of its own, and a second one for questions, made from a copy of the client's options;
// hooks and limiters of the client do not see them. Everything else uses connections of the client's pool,
// or of a client of the bus's own where it is a Cluster's.
// When these seem to lead to a primary that was replaced, the bus closes those of them that are
// idle, once a half second at most, so that the next ones are made to where the client's address
// or Sentinel leads. Nothing uses pub/sub.
//
// # What it promises
//
// That of package backplane: who follows a log gets every entry, once and in
// order, or ErrTrimmed or ErrEpoch. A publish that returned nil was executed by the
// server that the client then held for the primary.
//
// What it can not promise is what Redis does not keep. A primary that dies, or is
// replaced, before it has replicated loses what it accepted last; a planned failover by
// Sentinel loses what clients wrote in the second before they were told. The followers find out
// by the chain of the entries, within 2 seconds even when nothing is published, and
// return ErrEpoch. [WithReplicas] and the server's own min-replicas-to-write narrow the loss.
//
// # Keys
//
// All keys of a namespace are prefix:{namespace}:name, with
// [DefaultPrefix] or that of [WithPrefix]. The braces are a hash tag, so that a Cluster
// keeps them in one slot. In a namespace, bytes that mean something in a pattern, and
// braces, are written as %XX.
//
// The log:
//
//	meta           hash    epoch, its begin, ends and size of the log, the server that wrote last; and by
//	                       producer: epoch, number and time of its last batch, its positions
//	log            stream  the entries, in chunks of those that were published together;
//	                       <number of the last>-0: e "epoch number-before ahead count", where
//	                       ahead is how far the id is ahead of the clock; a line feed; the
//	                       length of each in 4 bytes, big endian, and its data
//	marks          list    "number bytes time": what to trim, and when
//	keys           hash    idempotency key -> position
//	keys.old               the same, of the window before
//
// The register, where frame(s) is the length of s in four digits, and s:
//
//	leases         zset    node, by the time when its lease is over
//	swept          zset    node that was swept, by the time
//	sessions       hash    id -> frame(client) frame(node) first frame(name of node) frame(topic)...
//	clients        zset    frame(client) id
//	nodes          zset    frame(node) id
//	owed           zset    frame(node) debt; a debt is s and a session id, or c and a client
//	debts          hash    debt -> frame(node) record of the session
//	collected      hash    node -> the debts that it was given last
//	left           zset    client without a session, by the time when its grace is over
//	ended          hash    id of a session that is over -> first
//	ended.old              the same, of the retention age before
//	facts:<client> hash    kind and name -> "until epoch number tag value"
//
// The scripts that work on them stand in lua/, each with a comment that says what it takes and
// returns. All of their keys are declared. Each script begins with what it needs of
// common.lua, meta.lua, history.lua and register.lua; append.lua is the beginning of publish.lua.
//
// # How history is kept honest
//
// An entry is numbered with the microseconds of the server's clock, or one more
// than the last. The messages of a batch become elements of up to 16 KiB of the stream,
// which costs a fraction of what an element each would. When the server is not the one that wrote last (its master_replid is
// another: it was promoted, or restarted), and when an epoch begins, numbers go on
// 60 seconds ahead, so that none is below one that somebody has seen, even if the new
// server's clock is behind. Therefore no number is given out twice, and positions have no Tag.
//
// A follower accepts an entry only if the predecessor that it names is the entry
// accepted last. Once a second it is compared with the server that is written to: what it
// has read, and what was acknowledged to a publisher of this node, must still be
// there; and what that server has, it must be getting, or it reads from a server that
// is no longer the primary, and connects anew. History is only declared gone when both
// servers say so.
//
// A batch is only accepted by a server that is at the epoch which its node follows and that has the
// batch which was accepted of the node before. During a failover the commands of a node may lead to another
// server than its follower for a while: what that one accepted would be lost, and nobody told. So publishes wait
// while a node moves from epoch to epoch, for a second or so; whoever uses a log without a
// broker calls Bounds or NewEpoch when Follow has ended. One call of Follow at a time is meant for each log.
//
// Where two servers take themselves for the primary, each may come to an epoch of its own. When one is given
// up, its nodes find that the epoch of the other began before what they miss, and so has not announced it: they end
// that epoch too.
//
// Elements of the stream that no node has written are skipped, counted
// ([Bus.ForeignEntries]) and reported ([WithLogger]).
//
// # Memory
//
// A log keeps up to RetentionBytes of data and of [EntryOverhead] for each entry,
// give or take a 128th. What Redis needs for that is between 0.8 times as much (batches
// of small entries) and 1.2 times (entries of more than 300 bytes, one by one). It is
// trimmed as it is published to: a log that nobody publishes to any more keeps its
// last entries until its keys expire. Besides, in bytes: 120 for each producer that published within
// twice the time that the keys live without renewal, 120 for each idempotency key of the last two windows, 440 and
// its topics for each session, 330 until it is settled and then 85 for each that
// ended within the last two retention ages, 130 for each client within its grace.
//
// All keys expire. Nodes renew them when they publish, follow or hold a lease;
// they are gone 1.25 times the longest of retention age, idempotency window and
// grace, and 40 seconds, after the last node. Facts expire by their own TTL.
//
// The server must not evict: any maxmemory-policy but noeviction can take the log or
// the register away, which is survived as a loss of history and costs resets. It is
// reported when a log is opened. A server that is full refuses publishes and
// registrations; followers go on.
//
// # Rights
//
// [ACL] lists the commands that the client's user needs. Add its keys:
//
//	ACL SETUSER app on >secret ~sseplane:* <the rules of redisbus.ACL>
//
// # Limits
//
//   - All entries of a namespace pass through one server, and each node reads all of
//     them. A wake-up of each node for each batch is the larger part of the cost.
//   - While a Cluster moves the slot of a namespace key by key, calls are refused by the
//     server (TRYAGAIN) and repeated by the bus, for as long as it takes.
//   - An entry is at most [MaxEntry] bytes.
//   - An XADD by hand with a number far in the future makes all later entries continue
//     from there; one with the highest number there is costs an epoch.
//   - Two servers that both believe to be the primary both accept. What the one that gives
//     way has accepted is lost, and told as above.
package redisbus
