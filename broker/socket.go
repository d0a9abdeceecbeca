package broker

import "context"

// socket is the way from a session to its client. The session calls wake when it
// has frames to take or has ended; the socket then calls session.take until it
// returns nothing, and writes what it gets.
//
// Nothing outside the implementations of socket knows whether a goroutine, a
// poller or a test stands behind it.
type socket interface {
	// wake never blocks. It may be called with locks held.
	wake()
	// serve writes until the session has ended or the client is gone, and
	// returns why it ended. It is called once.
	serve(ctx context.Context, s *session) error
}
