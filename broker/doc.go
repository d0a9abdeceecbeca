// Package broker serves Server-Sent Events from a service that runs as several
// replicas. Each replica has one [Broker], a node; the nodes meet on a bus. Any of
// them can publish to everyone, to topics, to a client or to a session, and
// everyone who should get the event gets it, wherever they are connected.
//
//	b := broker.NewBroker(nil, broker.WithBackplane(bus)) // or without a bus: one node
//	http.Handle("GET /events", b.Handler(func(r *http.Request) (broker.Client, error) {
//		user, err := sessionUser(r)
//		if err != nil {
//			return broker.Client{}, err // answers 401
//		}
//		return broker.Client{ID: user.ID, Topics: []string{"team:" + user.Team}}, nil
//	}))
//	b.Send("user-42", &sse.JsonEvent{Event: "message", Data: message})
//
// # The promise
//
// Within the retention ([WithRetention]), a session gets every event of its
// topics that the bus accepted, once, in the order of the log, and a client that
// reconnects to any node with its Last-Event-ID continues exactly where it stopped.
// When that is impossible, because the retention has passed or the bus has lost
// data, the session is told so with an event named "reset", whose data is
// {"reason":"..."} (a [ResetReason]): the application then reads its state anew. There
// is no silent gap and no silent duplicate.
//
// What is not promised: an order across namespaces; retention per topic; wildcard
// topics. Events published with [Ephemeral], and what [ClientConnection.Send]
// writes, are outside the promise: they are for the connection as it is now. The
// topics that resume are those named at connect, and those that the client was joined
// to with [Broker.Join].
//
// # Limits
//
// A broker bounds all that it keeps: the window ([WithWindow]), 128 events and 256
// KiB in the queue of a session, 128 direct events, 64 Ki events or 64 MiB waiting to be
// published. A session that does not keep up costs nothing but its place: it goes on from the
// window, or from the bus, when its client takes bytes again.
package broker
