package client

import (
	"sync"

	"github.com/sseplane/sseplane/sse"
)

// queue holds the events that wait for one reader.
type queue struct {
	limit int
	ready chan struct{} // has a token when a reader that waits may find something
	space chan struct{} // has a token when there may be room after a push that failed

	mu    sync.Mutex // guards what follows
	items []sse.Event
	head  int
	bytes int
	empty bool // was empty since caughtUp was asked last
	full  bool // a push failed and none was told of room
	idle  int  // readers that wait
	ended bool
	err   error
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, ready: make(chan struct{}, 1), space: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// eventSize is about what an event takes in memory.
func eventSize(e sse.Event) int {
	return len(e.GetId()) + len(e.GetEvent()) + len(e.GetData()) + 64
}

// push adds an event, or returns false if there is no room. An ended queue takes all and keeps none.
func (q *queue) push(e sse.Event, size int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return true
	}
	if q.bytes > 0 && q.bytes+size > q.limit {
		q.full = true
		return false
	}
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, e)
	q.bytes += size
	q.wake()
	return true
}

// pop takes the next event, waiting for it, until stop is closed or the queue has ended and is empty.
func (q *queue) pop(stop <-chan struct{}) (sse.Event, error) {
	for {
		select {
		case <-stop:
			return nil, ErrClosed
		default:
		}
		if e, err, ok := q.take(); ok {
			return e, err
		}
		select {
		case <-q.ready:
		case <-stop:
		}
		q.mu.Lock()
		q.idle--
		q.mu.Unlock()
	}
}

// wake needs the lock.
func (q *queue) wake() {
	if q.idle > 0 {
		signal(q.ready)
	}
}

// take returns the next event or the end, or else counts the caller as a reader that waits.
func (q *queue) take() (sse.Event, error, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == len(q.items) {
		if q.ended {
			q.wake()
		} else {
			q.idle++
		}
		return nil, q.err, q.ended
	}
	e := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	q.bytes -= eventSize(e)
	if q.head == len(q.items) {
		q.empty = true
		// The room that a burst needed is given back.
		if q.items, q.head = q.items[:0], 0; cap(q.items) > 1024 {
			q.items = nil
		}
	} else {
		q.wake()
	}
	if q.full {
		q.full = false
		signal(q.space)
	}
	return e, nil, true
}

// caughtUp tells whether the reader has at some time taken all there was, since it was asked last.
func (q *queue) caughtUp() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	was := q.empty
	q.empty = false
	return was
}

// end lets readers take what is there and then get err. What is discarded is not given out any more.
func (q *queue) end(err error, discard bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if discard {
		q.items, q.head, q.bytes = nil, 0, 0
	}
	if !q.ended {
		q.ended, q.err = true, err
	}
	q.wake()
	signal(q.space)
}
