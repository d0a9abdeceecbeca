package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/natsbus/internal/natstest"
)

func sessions(node string, n int) []backplane.Session {
	out := make([]backplane.Session, n)
	for i := range out {
		out[i] = backplane.Session{ID: fmt.Sprintf("%s/%d", node, i), Client: fmt.Sprintf("client %d", i), Node: node, NodeName: "name of " + node, Topics: []string{"a", "b"}}
	}
	return out
}

func live(t testing.TB, l backplane.Log, clients ...string) int {
	t.Helper()
	n := 0
	for _, err := range l.Sessions(within(t), clients...) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// TestNodeKilled: a node that is cut off for good is swept when its lease is
// over, each session by one other node.
func TestNodeKilled(t *testing.T) {
	s := natstest.Start(t)
	proxy := natstest.NewProxy(t, s.Addr())
	cfg := config()
	dead, a, b := openLog(t, proxy.URL(), cfg), openLog(t, s.URL(), cfg), openLog(t, s.URL(), cfg)
	ctx := within(t)
	for node, l := range map[string]backplane.Log{"a": a, "b": b} {
		if err := l.Renew(ctx, node, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if err := dead.Renew(ctx, "dead", time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := dead.Update(ctx, "dead", sessions("dead", 100), nil); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	got := make(map[string]string)
	for len(got) < 100 {
		for node, l := range map[string]backplane.Log{"a": a, "b": b} {
			debts, err := l.Collect(ctx, node, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range debts {
				if d.Kind != backplane.SessionEnded {
					continue
				}
				if by, again := got[d.Session.ID]; again {
					t.Errorf("%s is owed by %s and %s", d.Session.ID, by, node)
				}
				got[d.Session.ID] = node
			}
		}
	}
	proxy.Heal()
	if err := dead.Renew(ctx, "dead", time.Minute); !errors.Is(err, backplane.ErrSwept) {
		t.Errorf("Renew: %v", err)
	}
	if _, err := dead.Update(ctx, "dead", sessions("dead", 1), nil); !errors.Is(err, backplane.ErrSwept) {
		t.Errorf("Update: %v", err)
	}
	if n := live(t, dead); n != 0 {
		t.Errorf("%d sessions are live", n)
	}
}

// TestSnapshots: what the register knows does not depend on whether a node was
// there or has read a snapshot.
func TestSnapshots(t *testing.T) {
	s := natstest.Start(t)
	cfg := config()
	ctx := within(t)
	old := openLog(t, s.URL(), cfg, natsbus.WithSnapshots(2000))
	if err := old.Renew(ctx, "n", time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := old.Renew(ctx, "gone", time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Update(ctx, "gone", sessions("gone", 3), nil); err != nil {
		t.Fatal(err)
	}
	if err := old.Release(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	if debts, err := old.Collect(ctx, "n", 2); err != nil || len(debts) != 2 {
		t.Fatal(debts, err)
	}
	_, register := natsbus.Streams(cfg.Namespace)
	for i := 0; firstSequence(t, s, register) == 1; i++ {
		if i == 1000 {
			t.Fatal("no snapshot was made")
		}
		session := sessions("n", 100)[i%100]
		if _, err := old.Update(ctx, "n", []backplane.Session{session}, nil); err != nil {
			t.Fatal(err)
		}
		fact := backplane.Fact{Client: session.Client, Kind: backplane.FactTopic, Name: "t", Value: []byte{1}, Version: backplane.Position{Epoch: "e", Seq: uint64(i + 1)}, TTL: time.Hour}
		if err := old.Put(ctx, []backplane.Fact{fact}); err != nil {
			t.Fatal(err)
		}
	}
	young := openLog(t, s.URL(), cfg)
	for _, l := range []backplane.Log{old, young} {
		if err := l.Renew(ctx, "gone", time.Hour); !errors.Is(err, backplane.ErrSwept) {
			t.Errorf("Renew of the swept one: %v", err)
		}
	}
	if a, b := live(t, old), live(t, young); a != b || a == 0 {
		t.Errorf("%d sessions for the old node, %d for the young one", a, b)
	}
	names := []string{"client 0", "client 1", "client 2", "client 99", "nobody"}
	a, err := old.Presence(ctx, names...)
	if err != nil {
		t.Fatal(err)
	}
	b, err := young.Presence(ctx, names...)
	if err != nil {
		t.Fatal(err)
	}
	facts := make([][]backplane.Fact, 2)
	for i, l := range []backplane.Log{old, young} {
		if facts[i], err = l.Facts(ctx, names...); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(a) != fmt.Sprint(b) || fmt.Sprint(facts[0]) != fmt.Sprint(facts[1]) || len(facts[0]) == 0 {
		t.Errorf("the old node says %v %v, the young one %v %v", a, facts[0], b, facts[1])
	}
	// What the dead one had left goes on being owed.
	if debts, err := young.Collect(ctx, "young", 10); err != nil || len(debts) != 1 {
		t.Errorf("%v, %v", debts, err)
	}
}

func firstSequence(t *testing.T, s *natstest.Server, stream string) uint64 {
	t.Helper()
	js := natstest.JetStream(t, s.URL())
	info, err := js.Stream(within(t), stream)
	if err != nil {
		t.Fatal(err)
	}
	return info.CachedInfo().State.FirstSeq
}

// TestRegisterLost: a register whose stream is gone starts again, empty.
func TestRegisterLost(t *testing.T) {
	s := natstest.Start(t)
	cfg := config()
	l := openLog(t, s.URL(), cfg)
	ctx := within(t)
	for range 3 {
		if err := l.Renew(ctx, "n", time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Update(ctx, "n", sessions("n", 10), nil); err != nil {
			t.Fatal(err)
		}
		if n := live(t, l); n != 10 {
			t.Fatalf("%d sessions", n)
		}
		_, register := natsbus.Streams(cfg.Namespace)
		if err := natstest.JetStream(t, s.URL()).DeleteStream(ctx, register); err != nil {
			t.Fatal(err)
		}
		wait, cancel := context.WithTimeout(ctx, 20*time.Second)
		presence, err := l.Presence(wait, "client 1")
		cancel()
		if err != nil || presence[0] != backplane.Absent {
			t.Fatalf("%v, %v", presence, err)
		}
	}
}

// TestManySessions: 10,000 sessions connecting at once are registered within 2 s.
func TestManySessions(t *testing.T) {
	t.Run("single", func(t *testing.T) { manySessions(t, natstest.Start(t).URL(), 1) })
	t.Run("cluster", func(t *testing.T) { manySessions(t, natstest.StartCluster(t).URL(), 3) })
}

func manySessions(t *testing.T, url string, replicas int) {
	cfg := config()
	l, other := openLog(t, url, cfg, natsbus.WithReplicas(replicas)), openLog(t, url, cfg, natsbus.WithReplicas(replicas))
	ctx := within(t)
	if err := l.Renew(ctx, "n", time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := live(t, other); n != 0 {
		t.Fatal(n)
	}
	all := sessions("n", 10_000)
	began := time.Now()
	for i := 0; i < len(all); i += 250 { // as a broker that registers what has come meanwhile
		res, err := l.Update(ctx, "n", all[i:i+250], nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Joined) != 250 {
			t.Fatalf("%d joined", len(res.Joined))
		}
	}
	took := time.Since(began)
	t.Logf("10,000 sessions in %v", took)
	if took > 2*time.Second {
		t.Errorf("10,000 sessions took %v to register", took)
	}
	if n := live(t, other); n != 10_000 {
		t.Errorf("another node sees %d", n)
	}
}
