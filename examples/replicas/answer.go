package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/sseplane/sseplane/broker"
)

// refusal is an error with the status that answers it.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// answer writes a JSON value.
func answer(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer can not be written as JSON"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	answer(w, statusOf(err), map[string]string{"error": err.Error()})
}

func statusOf(err error) int {
	var refused *refusal
	var unknown *broker.UnknownClientError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &refused):
		return refused.status
	case errors.As(err, &unknown):
		return http.StatusNotFound
	case errors.As(err, &tooLarge), errors.Is(err, broker.ErrEventTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, broker.ErrInvalidName), errors.Is(err, broker.ErrInvalidEvent):
		return http.StatusBadRequest
	case errors.Is(err, broker.ErrUnavailable), errors.Is(err, broker.ErrDraining), errors.Is(err, broker.ErrClosed):
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}
