package broker

import (
	"errors"
	"fmt"
)

// Errors for errors.Is.
var (
	// ErrClosed: the broker has been closed.
	ErrClosed = errors.New("broker: closed")
	// ErrDraining: the broker is shutting down and takes no new connections.
	ErrDraining = errors.New("broker: draining")
	// ErrUnavailable: the bus did not answer in time. A publish that ends with it
	// may or may not have been accepted: repeat it with the same idempotency key.
	ErrUnavailable = errors.New("broker: bus unavailable")
	// ErrTooManyConnections: a connection limit of this node is reached.
	ErrTooManyConnections = errors.New("broker: too many connections")
	// ErrSlowSession: the session has not taken what was sent to it directly, and
	// there is no room for more; or it made no progress until its write deadline.
	ErrSlowSession = errors.New("broker: session is too slow")
	// ErrEventTooLarge: the event is larger than the broker or the bus accepts.
	ErrEventTooLarge = errors.New("broker: event too large")
	// ErrInvalidEvent: the event can not be published as it is.
	ErrInvalidEvent = errors.New("broker: invalid event")
	// ErrInvalidName: a client, topic or session id is empty, too long, or not UTF-8.
	ErrInvalidName = errors.New("broker: invalid name")
	// ErrInvalidOption: an option has a bad value.
	ErrInvalidOption = errors.New("broker: invalid option")
	// ErrClientGone: the client closed the connection.
	ErrClientGone = errors.New("broker: client closed the connection")
	// ErrExpired: the connection reached its expiry time, or its re-authorisation failed.
	ErrExpired = errors.New("broker: connection expired")
	// ErrDisconnected: the application ended the connection, with
	// [Broker.Disconnect] or [ClientConnection.Close].
	ErrDisconnected = errors.New("broker: disconnected")
	// ErrNodeLapsed: this node was cut off from the bus for so long that others
	// have taken it for dead; the client resumes on its next connection.
	ErrNodeLapsed = errors.New("broker: node was taken for dead")
	// ErrIncompatible: the log holds entries of a newer format, which this
	// version of the library must not skip.
	ErrIncompatible = errors.New("broker: log entries of a newer format")
)

// SSEError is what the typed errors of this package have in common.
type SSEError struct {
	Message string
}

// StreamingUnsupportedError: the http.ResponseWriter can not stream: neither it
// nor what it wraps (Unwrap) can flush.
type StreamingUnsupportedError struct {
	SSEError
}

// NewStreamingUnsupportedError returns the error with that message.
func NewStreamingUnsupportedError(msg string) *StreamingUnsupportedError {
	return &StreamingUnsupportedError{SSEError{Message: msg}}
}

// Error returns the message.
func (e StreamingUnsupportedError) Error() string { return e.Message }

// UnknownClientError: the client is connected nowhere in the cluster.
type UnknownClientError struct {
	SSEError
}

// NewUnknownClientError returns the error for that client.
func NewUnknownClientError(clientId string) *UnknownClientError {
	return &UnknownClientError{SSEError{Message: fmt.Sprintf("broker: unknown client %q", clientId)}}
}

// Error returns the message.
func (e UnknownClientError) Error() string { return e.Message }

// unavailable says that the bus did not do something, and why.
func unavailable(doing string, cause error) error {
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, cause)
}

func invalidName(what string, cause error) error {
	return fmt.Errorf("%w: %s: %w", ErrInvalidName, what, cause)
}
