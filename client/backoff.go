package client

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	// minRetry keeps a client from hammering a server that says "retry: 0" and closes.
	minRetry = 100 * time.Millisecond
	// maxRetry is the longest time that a server can send a client away for, by retry or Retry-After.
	maxRetry = 24 * time.Hour
)

// backoff decides how long to wait before the next try.
type backoff struct {
	retry   time.Duration // the reconnection time: the server's, or that of WithRetry
	named   bool          // it is the server's
	most    time.Duration
	stable  time.Duration
	retries int // tries since the last one that counts as a success
}

// outcome is how a connection went.
type outcome struct {
	err        error
	opened     bool // the answer was an event stream
	lasted     time.Duration
	retryAfter time.Duration // of the answer's header
	final      bool          // not to be tried again
}

// next returns a time between d and 1.5 d, so that the clients of a server that went away come back spread. d is the
// reconnection time, doubled with each failure up to the most. A server that named a time is obeyed each time
// that it was there: the time is kept until it names another.
func (b *backoff) next(o outcome) time.Duration {
	if o.opened && (b.named || o.lasted >= b.stable) {
		b.retries = 0
	}
	d := min(max(b.retry, minRetry), maxRetry)
	if d < b.most {
		for range min(b.retries, 40) {
			d = min(2*d, b.most)
		}
	}
	d = max(d, min(o.retryAfter, maxRetry))
	b.retries++
	return d + rand.N(d/2+1)
}

// retryAfter reads the header of that name, in seconds or as a date. 0 means that there is none.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(time.Until(at), 0)
}
