package client

import (
	"sync"

	"github.com/sseplane/sseplane/sse"
)

// queue holds the events that wait for one reader.
type queue struct {
	limit int
	ready chan struct{} // has a token when there may be something to take
	space chan struct{} // has a token when there may be room

	mu    sync.Mutex // guards what follows
	items []sse.Event
	head  int
	bytes int
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
		return false
	}
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, e)
	q.bytes += size
	signal(q.ready)
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
	}
}

func (q *queue) take() (sse.Event, error, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == len(q.items) {
		if q.ended {
			signal(q.ready) // for another reader of the same queue
		}
		return nil, q.err, q.ended
	}
	e := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	q.bytes -= eventSize(e)
	if q.head == len(q.items) {
		// The room that a burst needed is given back.
		if q.items, q.head = q.items[:0], 0; cap(q.items) > 1024 {
			q.items = nil
		}
	} else {
		signal(q.ready)
	}
	signal(q.space)
	return e, nil, true
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
	signal(q.ready)
	signal(q.space)
}
