package client

import (
	"errors"
	"fmt"
	"net/http"
)

var (
	// ErrClosed: the caller closed the stream, feed or subscription.
	ErrClosed = errors.New("client: closed")
	// ErrNoContent: the server answered 204, which asks the client not to come back.
	ErrNoContent = errors.New("client: the server ended the stream (204 No Content)")
	// ErrIdleTimeout: nothing came for as long as WithIdleTimeout allows. The stream reconnects.
	ErrIdleTimeout = errors.New("client: idle timeout")
	// ErrSlowSubscription: a subscription was full while there were others, and was ended; see WithBuffer.
	ErrSlowSubscription = errors.New("client: slow subscription")
	// ErrLastEventID: the last event ID has a control character, which net/http does not send. The stream asks for
	// events from now on.
	ErrLastEventID = errors.New("client: last event ID cannot be sent")
)

// StatusError is an answer with a status other than 200 and 204.
type StatusError struct {
	StatusCode int
	Header     http.Header
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("client: the server answered %d %s", e.StatusCode, http.StatusText(e.StatusCode))
}

// ContentTypeError is an answer that is no event stream, or a compressed one.
type ContentTypeError struct {
	ContentType     string
	ContentEncoding string
}

func (e *ContentTypeError) Error() string {
	if e.ContentEncoding != "" {
		return fmt.Sprintf("client: unexpected content encoding %.100q", e.ContentEncoding)
	}
	return fmt.Sprintf("client: content type is %.100q, not text/event-stream", e.ContentType)
}
