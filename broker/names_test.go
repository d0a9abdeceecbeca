package broker_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sseplane/sseplane/broker"
)

// badNames are what no client, topic or namespace can be called.
var badNames = map[string]string{
	"empty":         "",
	"over limit":    strings.Repeat("n", 1025),
	"invalid UTF-8": "a\xffb",
}

// oddNames are what they can be called.
var oddNames = []string{
	" ", "a b", "a.b.*.>", "line\nbreak", "tab\t", "émoji 🚀", "{tag}", "a/b?c#d", "null\x00byte", strings.Repeat("n", 1024),
	"everyone", "broadcast", "topic:x", "~a.1",
}

func TestBadNames(t *testing.T) {
	for what, name := range badNames {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := start(t)
				ctx := t.Context()
				good := connect(t, b, "good")
				_, publishClient := b.Publish(ctx, broker.ToClient(name), text("x"))
				_, publishTopic := b.Publish(ctx, broker.Topics("good", name), text("x"))
				_, publishSession := b.Publish(ctx, broker.ToSession(name), text("x"))
				_, sessions := b.Sessions(ctx, name)
				_, metadata := b.GetClientMetadata(name)
				for what, err := range map[string]error{
					"Send":                        b.Send(name, text("x")),
					"Publish to client":           publishClient,
					"Publish to topic":            publishTopic,
					"Publish to session":          publishSession,
					"Join of client":              b.Join(ctx, name, "topic"),
					"Join of topic":               b.Join(ctx, "good", "topic", name),
					"Leave of client":             b.Leave(ctx, name, "topic"),
					"Leave of topic":              b.Leave(ctx, "good", name),
					"Disconnect":                  b.Disconnect(ctx, name, ""),
					"Sessions":                    sessions,
					"GetClientMetadata":           metadata,
					"SetClientMetadata":           b.SetClientMetadata(name, nil),
					"Join of connection":          good.conn.Join(name),
					"Leave of connection":         good.conn.Leave(name),
					"Serve":                       serveError(t, b, broker.Client{ID: name}),
					"Serve with a topic":          serveError(t, b, broker.Client{ID: "good", Topics: []string{name}}),
					"Serve with an option, topic": serveError(t, b, broker.Client{ID: "good"}, broker.FollowTopics(name)),
				} {
					if err == nil {
						t.Errorf("%s: no error", what)
					}
					mustBe(t, err, broker.ErrInvalidName)
				}
				if b.IsClientPresent(name) {
					t.Error("is present")
				}
				good.wants() // and nothing was published
			})
		})
	}
}

// serveError returns the error of Serve, which must have answered 400.
func serveError(t *testing.T, b *broker.Broker, c broker.Client, options ...broker.ConnectOption) error {
	t.Helper()
	k := newSink()
	r, _ := request(t)
	err := b.Serve(k, r, c, options...)
	if k.code() != http.StatusBadRequest || strings.Contains(k.written(), "retry:") {
		t.Errorf("answered %d %q", k.code(), k.written())
	}
	return err
}

func TestConnectWithBadNameAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		for what, name := range badNames {
			k := newSink()
			r, _ := request(t)
			conn, err := b.Connect(name, k, r)
			mustBe(t, err, broker.ErrInvalidName)
			if conn != nil || k.code() != http.StatusBadRequest {
				t.Errorf("%s: connection %v, status %d", what, conn, k.code())
			}
		}
	})
}

func TestOddNames(t *testing.T) {
	for i, name := range oddNames {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				nodes, _ := cluster(t, 2, broker.WithNamespace(name))
				a, b := nodes[0], nodes[1]
				r := connect(t, a, name, broker.FollowTopics(name))
				other := connect(t, a, "other", broker.FollowTopics("other"))
				must(t, b.Send(name, text("client")))
				publish(t, b, broker.Topics(name), text("topic"))
				must(t, b.Join(t.Context(), name, name+"2"[:min(1, 1024-len(name))]))
				must(t, b.SetClientMetadata(name, broker.ClientMetadata{name: name}))
				r.wants("client", "topic")
				other.wants()
				if !b.IsClientPresent(name) {
					t.Error("is not present")
				}
				m, err := a.GetClientMetadata(name)
				must(t, err)
				if m[name] != name {
					t.Errorf("metadata %q", m)
				}
			})
		})
	}
}

// A name of one kind is never taken for the same name of another.
func TestKindsOfNamesAreApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "x")
		other := connect(t, b, "y", broker.FollowTopics("x"))
		publish(t, b, broker.Topics("x"), text("topic"))
		publish(t, b, broker.ToClient("x"), text("client"))
		publish(t, b, broker.ToSession(r.conn.SessionId()), text("session"))
		r.wants("client", "session")
		other.wants("topic")
	})
}

func TestNamespacesAreApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, bus := cluster(t, 0)
		a := start(t, broker.WithBackplane(bus), broker.WithNamespace("a"))
		b := start(t, broker.WithBackplane(bus), broker.WithNamespace("b"))
		ra, rb := connect(t, a, "joe"), connect(t, b, "ann")
		must(t, a.Broadcast(text("for a")))
		mustBeUnknown(t, a.Send("ann", text("x")))
		synctest.Wait()
		ra.wants("for a")
		rb.wants()
	})
}

func TestTooManyTopics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		many := make([]string, 1001)
		for i := range many {
			many[i] = fmt.Sprint("topic ", i)
		}
		r := connect(t, b, "joe", broker.FollowTopics(many[:1000]...))
		_, err := b.Publish(t.Context(), broker.Topics(many...), text("x"))
		mustBe(t, err, broker.ErrInvalidName)
		mustBe(t, serveError(t, b, broker.Client{ID: "ann", Topics: many}), broker.ErrInvalidName)
		mustBe(t, b.Join(t.Context(), "joe", many...), broker.ErrInvalidName)
		publish(t, b, broker.Topics(many[:1000]...), text("once"))
		r.wants("once")
	})
}
