package broker_test

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/broker"
)

// A bad option is an error that names it, from Start and from the first use alike.
func TestBadOptions(t *testing.T) {
	for name, options := range map[string][]broker.Option{
		"WithBackplane":               {broker.WithBackplane(nil), broker.WithBackplane((*backplane.Memory)(nil)), broker.WithBackplane((*unreliable)(nil))},
		"WithNamespace":               {broker.WithNamespace(""), broker.WithNamespace(badNames["over limit"]), broker.WithNamespace("\xff")},
		"WithNodeName":                {broker.WithNodeName(""), broker.WithNodeName(badNames["over limit"]), broker.WithNodeName("\xff")},
		"WithRetention":               {broker.WithRetention(0, 1<<20), broker.WithRetention(-1, 1<<20), broker.WithRetention(time.Minute, 0), broker.WithRetention(time.Minute, -1)},
		"WithWindow":                  {broker.WithWindow(0), broker.WithWindow(-1)},
		"WithResumeGrace":             {broker.WithResumeGrace(-1)},
		"WithLease":                   {broker.WithLease(0), broker.WithLease(-1), broker.WithLease(time.Millisecond)},
		"WithWriteDeadline":           {broker.WithWriteDeadline(0), broker.WithWriteDeadline(-1)},
		"WithHeartbeat":               {broker.WithHeartbeat(0), broker.WithHeartbeat(-1), broker.WithHeartbeat(time.Millisecond)},
		"WithIdempotencyWindow":       {broker.WithIdempotencyWindow(0), broker.WithIdempotencyWindow(-1)},
		"WithRetry":                   {broker.WithRetry(0, 0), broker.WithRetry(-1, 0), broker.WithRetry(time.Second, -1)},
		"WithMaxConnections":          {broker.WithMaxConnections(-1)},
		"WithMaxConnectionsPerClient": {broker.WithMaxConnectionsPerClient(-1)},
		"WithMaxEventSize":            {broker.WithMaxEventSize(0), broker.WithMaxEventSize(-1)},
		"WithResetEvent":              {broker.WithResetEvent(""), broker.WithResetEvent("a\nb"), broker.WithResetEvent("a\rb"), broker.WithResetEvent("message")},
		"WithLogger":                  {broker.WithLogger(nil)},
	} {
		for i, option := range options {
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					_, bus := cluster(t, 0)
					b := broker.NewBroker(nil, broker.WithBackplane(bus), option)
					if i%2 == 0 {
						isNamed(t, "Start", b.Start(t.Context()), name)
					}
					ctx := t.Context()
					_, publishErr := b.Publish(ctx, broker.Everyone(), text("x"))
					_, metadataErr := b.GetClientMetadata("joe")
					_, positionErr := b.Position(ctx)
					k := newSink()
					r, _ := request(t)
					_, connectErr := b.Connect("joe", k, r)
					if k.code() != 500 {
						t.Errorf("status %d", k.code())
					}
					for what, err := range map[string]error{
						"Publish": publishErr, "Broadcast": b.Broadcast(text("x")), "Send": b.Send("joe", text("x")),
						"Connect": connectErr, "Join": b.Join(ctx, "joe", "room"), "Disconnect": b.Disconnect(ctx, "joe", ""),
						"GetClientMetadata": metadataErr, "Position": positionErr, "Ready": b.Ready(), "Healthy": b.Healthy(),
						"Start": b.Start(ctx),
					} {
						isNamed(t, what, err, name)
					}
					if b.IsClientPresent("joe") {
						t.Error("somebody is present")
					}
					must(t, b.Close())
				})
			})
		}
	}
}

func isNamed(t *testing.T, what string, err error, option string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), option+":") {
		t.Errorf("%s: error is %v, want one that names %s", what, err, option)
	}
	mustBe(t, err, broker.ErrInvalidOption)
}

// Several bad options are all named, and the error does not quote a name without end.
func TestSeveralBadOptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := broker.NewBroker(nil, broker.WithWindow(-1), broker.WithNamespace(strings.Repeat("n", 100_000)), broker.WithRetry(-5, 0))
		err := b.Start(t.Context())
		for _, name := range []string{"WithWindow", "WithNamespace", "WithRetry", "-1", "-5"} {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%q does not name %q", err, name)
			}
		}
		if len(err.Error()) > 1000 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}

// The least that each option allows works.
func TestSmallestOptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithRetention(100*time.Millisecond, 1<<10), broker.WithWindow(1<<10), broker.WithResumeGrace(0),
			broker.WithLease(100*time.Millisecond), broker.WithWriteDeadline(1), broker.WithHeartbeat(10*time.Millisecond),
			broker.WithIdempotencyWindow(100*time.Millisecond), broker.WithRetry(time.Millisecond, 0),
			broker.WithMaxConnections(1), broker.WithMaxConnectionsPerClient(1), broker.WithMaxEventSize(len("data: x\n\n")), broker.WithResetEvent("r"),
			broker.WithNodeName("n"), broker.WithNamespace("n"))
		r := connect(t, b, "joe")
		must(t, b.Broadcast(text("x")))
		time.Sleep(time.Second)
		r.wants("x")
		must(t, b.Broadcast(text("y")))
		r.wants("x", "y")
	})
}

func TestNothingStartsBeforeItIsUsed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := broker.NewBroker(nil, broker.WithBackplane(wire))
		synctest.Wait()
		_ = b.Stats()
		b.SetDisconnectCallback(func(_, _ string) {})
		if wire.count("Open") != 0 {
			t.Error("the bus was opened")
		}
		must(t, b.Broadcast(text("x"))) // starts by itself
		if wire.count("Open") != 1 {
			t.Error("the bus was not opened once")
		}
		must(t, b.Start(t.Context()))
		must(t, b.Close())
	})
}

// A node that starts by a connection answers that one with a stream, if the bus is there.
func TestFirstUseIsAConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := broker.NewBroker(nil)
		t.Cleanup(func() { shut(t, b) })
		r := connect(t, b, "joe")
		must(t, b.Broadcast(text("x")))
		r.wants("x")
	})
}

// For ever, said as the longest time there is, works, or is refused by name.
func TestHugeOptions(t *testing.T) {
	const forever = time.Duration(math.MaxInt64)
	for name, option := range map[string]broker.Option{
		"WithRetention":         broker.WithRetention(forever, math.MaxInt64),
		"WithWindow":            broker.WithWindow(math.MaxInt),
		"WithResumeGrace":       broker.WithResumeGrace(forever),
		"WithLease":             broker.WithLease(forever),
		"WithWriteDeadline":     broker.WithWriteDeadline(forever),
		"WithHeartbeat":         broker.WithHeartbeat(forever),
		"WithIdempotencyWindow": broker.WithIdempotencyWindow(forever),
		"WithRetry":             broker.WithRetry(forever, forever),
		"WithMaxConnections":    broker.WithMaxConnections(math.MaxInt),
		"WithMaxEventSize":      broker.WithMaxEventSize(math.MaxInt),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := broker.NewBroker(nil, option)
				t.Cleanup(func() { shut(t, b) })
				if err := b.Start(t.Context()); err != nil {
					isNamed(t, "Start", err, name)
					return
				}
				r := connect(t, b, "joe")
				must(t, b.SetClientMetadata("joe", broker.ClientMetadata{"k": "v"}))
				must(t, b.Join(t.Context(), "joe", "room"))
				publish(t, b, broker.Topics("room"), text("1"), broker.IdempotencyKey("k"))
				publish(t, b, broker.Topics("room"), text("1"), broker.IdempotencyKey("k"))
				time.Sleep(time.Minute)
				r.wants("1")
				if r.ended() || !b.IsClientPresent("joe") {
					t.Error("the session is gone")
				}
				second := connectFrom(t, b, "joe", r.events()[0].ID)
				publish(t, b, broker.Topics("room"), text("2"))
				second.wants("2")
				m, err := b.GetClientMetadata("joe")
				if err != nil || m["k"] != "v" {
					t.Errorf("metadata %v, %v", m, err)
				}
			})
		})
	}
}

// A nil option of any kind is none.
func TestNilOptionsAreIgnored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, nil, broker.WithBackplane(new(backplane.Memory)), nil) // the zero Memory is one
		r := connect(t, b, "joe", nil, broker.FollowTopics("t"), nil)
		publish(t, b, broker.Topics("t"), text("x"), nil, broker.Except(""), nil)
		r.wants("x")
	})
}
