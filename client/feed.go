package client

import (
	"context"
)

// SSEFeed is a Stream with the names of an older library.
type SSEFeed struct {
	stream *Stream
}

// ConnectWithSSEFeed connects to url and waits for the answer, for at most 30 s. An answer that is not an event stream
// is an error, and so is none. From then on the feed stays connected as a Stream does. Nothing is read, and so nothing
// lost, before the first Subscribe.
func ConnectWithSSEFeed(url string, headers map[string][]string) (*SSEFeed, error) {
	var list []Option
	for key, values := range headers {
		for _, value := range values {
			list = append(list, WithHeader(key, value))
		}
	}
	o, err := newOptions(url, list)
	if err != nil {
		return nil, err
	}
	s := newStream(context.Background(), o)
	first := make(chan error, 1)
	go s.run(first) // Close waits for it
	if err := <-first; err != nil {
		s.Close()
		return nil, err
	}
	return &SSEFeed{s}, nil
}

// Subscribe returns the events of a type, "" for all, "message" also for those without a type. An error means that
// the feed has ended, and why.
func (f *SSEFeed) Subscribe(eventType string) (*Subscription, error) {
	return f.stream.Subscribe(eventType)
}

// Close ends the feed and its subscriptions. It may be called more than once and from anywhere.
func (f *SSEFeed) Close() { f.stream.Close() }
