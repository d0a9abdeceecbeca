package broker_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

// start returns a running broker that the test closes at its end.
func start(t testing.TB, options ...broker.Option) *broker.Broker {
	t.Helper()
	b := broker.NewBroker(nil, options...)
	t.Cleanup(func() { shut(t, b) })
	if err := b.Start(t.Context()); err != nil {
		t.Fatalf("Start: %v", err)
	}
	return b
}

func shut(t testing.TB, b *broker.Broker) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// cluster returns n running nodes on one bus, named a, b, c.
func cluster(t testing.TB, n int, options ...broker.Option) (nodes []*broker.Broker, bus *backplane.Memory) {
	t.Helper()
	bus = backplane.NewMemory()
	for i := range n {
		name := string(rune('a' + i))
		nodes = append(nodes, start(t, slices.Concat([]broker.Option{
			broker.WithBackplane(bus), broker.WithNodeName(name),
		}, options)...))
	}
	return nodes, bus
}

// bubble runs a test in a synctest bubble.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// publish publishes one event and returns its position.
func publish(t testing.TB, b *broker.Broker, to broker.Audience, e sse.Event, options ...broker.PublishOption) broker.Position {
	t.Helper()
	pos, err := b.Publish(t.Context(), to, e, options...)
	if err != nil {
		t.Fatalf("Publish: %v", err)
	}
	return pos
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mustBe fails the test unless err is target.
func mustBe(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error is %v, want %v", err, target)
	}
}

// mustBeUnknown fails the test unless err is a *UnknownClientError.
func mustBeUnknown(t testing.TB, err error) {
	t.Helper()
	var unknown *broker.UnknownClientError
	if !errors.As(err, &unknown) {
		t.Errorf("error is %v, want a *UnknownClientError", err)
	}
}

func newBus() *backplane.Memory { return backplane.NewMemory() }
