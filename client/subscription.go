package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sseplane/sseplane/sse"
)

// Subscription hands out the events of one type, or all, through a channel.
type Subscription struct {
	stream    *Stream
	eventType string
	queue     *queue
	feed      chan sse.Event
	errFeed   chan error
	errAsked  atomic.Bool // ErrFeed was called

	held      time.Duration // how long it has held up others; of the stream's goroutine
	closeOnce sync.Once
	closed    chan struct{}
	task      *task
}

// Feed returns the channel of events. It is closed after the subscription has ended, once the reason was taken from
// ErrFeed, so that a select over both sees the reason first and no nil event, however busy it was. Who leaves the reason
// there sees it closed a quarter of a second after the end, or ten seconds if ErrFeed was asked for.
func (s *Subscription) Feed() <-chan sse.Event { return s.feed }

// ErrFeed returns a channel that gets one error, when the subscription has ended and its events were taken: ErrClosed
// after a Close, ErrSlowSubscription, or why the stream ended. It is never closed.
func (s *Subscription) ErrFeed() <-chan error {
	s.errAsked.Store(true)
	return s.errFeed
}

// EventType returns what was subscribed to.
func (s *Subscription) EventType() string { return s.eventType }

// Close ends the subscription; events that wait in it are dropped. It may be called more than once and from anywhere.
func (s *Subscription) Close() {
	s.stream.remove(s)
	s.closeOnce.Do(func() { close(s.closed) })
	s.queue.end(ErrClosed, true)
	s.task.stop()
}

// matches tells whether an event is for this subscription. An event without a type is a "message", as in a browser.
func (s *Subscription) matches(eventType string) bool {
	return s.eventType == "" || s.eventType == eventType || s.eventType == "message" && eventType == ""
}

// pump moves events from the queue to the channel.
func (s *Subscription) pump() {
	defer s.task.finish()
	for {
		e, err := s.queue.pop(s.closed)
		if err == nil {
			select {
			case s.feed <- e:
				continue
			case <-s.closed:
				err = ErrClosed
			case <-s.stream.caller.Done():
				err = context.Cause(s.stream.caller)
			}
		}
		s.errFeed <- err
		s.closeFeed(time.Now())
		return
	}
}

const (
	feedGrace      = 250 * time.Millisecond // for who reads Feed only
	feedGraceAsked = 10 * time.Second       // for who reads both and is busy
	feedPoll       = 5 * time.Millisecond
)

// closeFeed closes the channel of events once the error was taken from the other, or after a while, for those who read
// only this one. A closed channel beside an error in a select would win every other time, and give a nil event. Timers
// rather than a goroutine, because Close need not wait for this.
func (s *Subscription) closeFeed(since time.Time) {
	passed, grace := time.Since(since), feedGrace
	if s.errAsked.Load() {
		grace = feedGraceAsked
	}
	if len(s.errFeed) == 0 || passed >= grace {
		close(s.feed)
		return
	}
	time.AfterFunc(feedPoll+passed/50, func() { s.closeFeed(since) })
}

// callBack moves events from the queue to f.
func (s *Subscription) callBack(f func(sse.Event)) {
	defer s.task.finish()
	for {
		e, err := s.queue.pop(s.closed)
		if err != nil {
			return
		}
		s.task.call(func() { f(e) })
	}
}
