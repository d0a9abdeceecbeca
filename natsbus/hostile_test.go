package natsbus_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/natsbus/internal/natstest"
)

// briefly is a context of a caller who does not wait for long.
func briefly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestMaxPayload: what the server takes is accepted, and what it does not take is
// ErrTooLarge, at once. Neither harms what comes behind.
func TestMaxPayload(t *testing.T) {
	const most = 64 << 10
	s := natstest.Start(t, fmt.Sprintf("max_payload: %d", most))
	p := newPast(t, openLog(t, s.URL(), config()), 1)
	number := uint64(0)
	for _, n := range []int{most - 600, most - 100, most, most + 1, 10 * most} {
		for _, key := range []string{"", fmt.Sprint("key-", n)} {
			number++
			b := batch("large", number, "small", strings.Repeat("x", n), "small")
			b.Messages[1].Key = key
			_, err := p.log.Publish(briefly(t), b)
			if fits := n <= most-600; fits && err != nil || !fits && !errors.Is(err, backplane.ErrTooLarge) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("an entry of %d bytes, key %q: %v", n, key, err)
			}
		}
	}
	p.publish(1)
	p.follower.wait(t, "it has what was accepted", func() bool { return len(p.follower.entries) == 1+2*3+1 })

	// The register: what is large is divided, or compressed, or refused.
	ctx := within(t)
	cfg := config()
	l := openLog(t, s.URL(), cfg, natsbus.WithSnapshots(1000))
	if err := l.Renew(ctx, "n", time.Hour); err != nil {
		t.Fatal(err)
	}
	metadata := func(value []byte) error {
		return l.Put(briefly(t), []backplane.Fact{{Client: "c", Kind: backplane.FactMetadata, Value: value, TTL: time.Hour}})
	}
	if err := metadata(bytes.Repeat([]byte("x"), most)); err != nil {
		t.Errorf("metadata that can be compressed: %v", err)
	}
	noise := make([]byte, most)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	if err := metadata(noise); !errors.Is(err, backplane.ErrTooLarge) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("metadata that can not: %v", err)
	}
	if err := metadata(noise[:most/2]); err != nil {
		t.Errorf("half of it: %v", err)
	}
	if _, err := l.Update(ctx, "n", sessions("n", 5000), nil); err != nil {
		t.Error(err)
	}
	// So is a snapshot, which a new node reads.
	_, register := natsbus.Streams(cfg.Namespace)
	for i := 0; firstSequence(t, s, register) == 1; i++ {
		if i == 1000 {
			t.Fatal("no snapshot was made")
		}
		if err := metadata(noise[:most/2]); err != nil {
			t.Fatal(err)
		}
	}
	if n := live(t, openLog(t, s.URL(), cfg)); n != 5000 {
		t.Errorf("a new node sees %d sessions", n)
	}
}

// TestHostileNames: a session with as many topics as a broker lets pass, as long as
// they can be in a request that net/http accepts, of bytes that take the most room, does
// not keep the others out that are registered with it.
func TestHostileNames(t *testing.T) {
	s := natstest.Start(t)
	cfg := config()
	l, other := openLog(t, s.URL(), cfg), openLog(t, s.URL(), cfg)
	ctx := within(t)
	if err := l.Renew(ctx, "n", time.Hour); err != nil {
		t.Fatal(err)
	}
	all := sessions("n", 100)
	for i := range 3 {
		all[i].Topics = nil
		for range 1000 {
			topic := make([]byte, http.DefaultMaxHeaderBytes/1000/len("%00"))
			for j := range topic {
				topic[j] = byte(mathrand.IntN(32)) // six bytes each in JSON
			}
			all[i].Topics = append(all[i].Topics, string(topic))
		}
	}
	if _, err := l.Update(ctx, "n", all, nil); err != nil {
		t.Fatal(err)
	}
	n := 0
	for session, err := range other.Sessions(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(s backplane.Session) bool { return s.ID == session.ID })
		if i < 0 || !reflect.DeepEqual(all[i], session) {
			t.Errorf("session %q came back otherwise", session.ID)
		}
		n++
	}
	if n != 100 {
		t.Errorf("another node sees %d sessions", n)
	}
}

// TestNoPermission: whoever may not do what a node has to do learns what that is,
// within its deadline.
func TestNoPermission(t *testing.T) {
	for what, conf := range map[string]string{
		"the subjects": `publish: { deny: ["sse.>"] }`,
		"the API":      `publish: { deny: ["$JS.>"] }`,
		"the inbox":    `subscribe: { deny: ["_INBOX.>"] }`,
		"the bucket":   `publish: { deny: ["$KV.>"] }`,
	} {
		t.Run(what, func(t *testing.T) {
			s := natstest.Start(t, fmt.Sprintf(`accounts { A { jetstream: enabled, users: [ { user: a, password: a, permissions: { %s } } ] } }`, conf))
			l := openLog(t, strings.Replace(s.URL(), "nats://", "nats://a:a@", 1), config())
			ctx := briefly(t)
			_, err := l.Publish(ctx, batch("p", 1, "x"))
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Publish: %v", err)
			}
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("it does not say why: %v", err)
			}
		})
	}
}

// TestNoJetStream: a server without JetStream says so.
func TestNoJetStream(t *testing.T) {
	for what, conf := range map[string]string{"in the account": `accounts { A { users: [ { user: a, password: a } ] } }`, "at all": ""} {
		t.Run(what, func(t *testing.T) {
			url := ""
			if conf == "" {
				url = natstest.StartPlain(t).URL()
			} else {
				url = strings.Replace(natstest.Start(t, conf).URL(), "nats://", "nats://a:a@", 1)
			}
			_, err := openLog(t, url, config()).Publish(briefly(t), batch("p", 1, "x"))
			t.Log(err)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "JetStream") && !errors.Is(err, nats.ErrNoResponders) {
				t.Errorf("Publish: %v", err)
			}
		})
	}
}

// TestApplicationConnectionGone: the bus outlives the connection that it took its
// options from, be it closed by the caller or by its own limits.
func TestApplicationConnectionGone(t *testing.T) {
	s := natstest.Start(t)
	proxy := natstest.NewProxy(t, s.Addr())
	closed := make(chan struct{})
	nc, err := nats.Connect(proxy.URL(), nats.MaxReconnects(2), nats.ReconnectWait(10*time.Millisecond), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	bus, err := natsbus.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	l, err := bus.Open(t.Context(), config())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(within(t))
	p := newPast(t, l, 3)
	proxy.Cut()
	<-closed
	proxy.Heal()
	p.publish(3)
	p.follower.wait(t, "it goes on", func() bool { return len(p.follower.entries) == 6 })
	other, err := bus.Open(t.Context(), config())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(within(t))
	newPast(t, other, 3)
}
