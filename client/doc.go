// Package client reads Server-Sent Events and stays connected.
//
//	stream, err := client.Open(ctx, "https://example.com/events")
//	if err != nil {
//		return err
//	}
//	defer stream.Close()
//	for event, err := range stream.Events() {
//		if err != nil {
//			return err // why the stream ended for good
//		}
//		fmt.Println(event.GetId(), event.GetEvent(), event.GetData())
//	}
//
// A Stream follows the processing model of the HTML standard, section 9.2: it reconnects when the connection ends or
// fails, sends the last event ID, waits for as long as the server's retry says and up to half of that more, drops
// what was unfinished, and ends for good when the server answers 204, a status that does not pass (see
// WithRetryStatus), or something that is no event stream. Where the standard leaves the client alone, it backs off
// exponentially, notices a silent connection (WithIdleTimeout) and bounds its memory (WithLimits, WithBuffer).
// Redirects are followed by the rules of net/http: at most ten, and no credentials to another host; more are a
// failure like any other. Each reconnect starts from the address given.
//
// With a broker of this module the stream continues on any replica without loss or duplicate, and a gap that could
// not be helped arrives as a Reset. With other servers it is as exact as their ids are.
//
// Events come by iterator (Stream.Events), by channel (Stream.Subscribe) and by callback (Stream.Handle), in the order
// in which they were sent. Each of these reads at its own pace: see WithBuffer for what happens to a slow one.
//
// Nothing is read from the connection before the first of these calls, so that nothing is lost before it.
package client
