package main

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

const (
	// maxEvent is the largest event, and the largest body of a request.
	maxEvent = 1 << 20
	// patience is how long a request waits for the bus.
	patience = 5 * time.Second
)

func (a *api) broadcast(w http.ResponseWriter, r *http.Request, _ []string) error {
	return a.publishTo(w, r, func(ctx context.Context, e sse.Event, o ...broker.PublishOption) (broker.Position, error) {
		return a.broker.Publish(ctx, broker.Everyone(), e, o...)
	})
}

func (a *api) send(w http.ResponseWriter, r *http.Request, names []string) error {
	return a.publishTo(w, r, func(ctx context.Context, e sse.Event, o ...broker.PublishOption) (broker.Position, error) {
		return a.broker.SendContext(ctx, names[0], e, o...)
	})
}

func (a *api) publish(w http.ResponseWriter, r *http.Request, names []string) error {
	return a.publishTo(w, r, func(ctx context.Context, e sse.Event, o ...broker.PublishOption) (broker.Position, error) {
		return a.broker.Publish(ctx, broker.Topics(names[0]), e, o...)
	})
}

type publisher func(context.Context, sse.Event, ...broker.PublishOption) (broker.Position, error)

// publishTo makes an event of the request and publishes it.
func (a *api) publishTo(w http.ResponseWriter, r *http.Request, publish publisher) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var options []broker.PublishOption
	if key := r.URL.Query().Get("key"); key != "" {
		options = append(options, broker.IdempotencyKey(key))
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	event := sse.StringEvent{Event: r.URL.Query().Get("event"), Data: string(body)}
	position, err := publish(ctx, event, options...)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string]string{"position": position.String()})
	return nil
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxEvent))
}
