package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/natsbus/internal/natstest"
)

// mover is a node that, as a broker does, goes on in the new epoch when the one that it
// follows is gone.
type mover struct {
	*node
	moves []backplane.Bounds
}

// follow follows until ctx ends. What is in entries is of the newest epoch only.
func (m *mover) follow(ctx context.Context, after backplane.Position) error {
	for {
		err := m.log.Follow(ctx, after, m.node)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, backplane.ErrEpoch) {
			return err
		}
		b, err := m.log.NewEpoch(ctx, after.Epoch)
		if err != nil {
			return err
		}
		if b.Epoch == after.Epoch {
			return fmt.Errorf("the new epoch is %s too", b.Epoch)
		}
		after = b.Began
		m.do(func() { m.moves, m.entries, m.upto = append(m.moves, b), nil, after })
	}
}

// TestLostInUse: the log is lost while nodes publish and follow. All of them go on in
// one new epoch, in which they get the same, each once, and among it all that was
// accepted for it.
func TestLostInUse(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, *natstest.Server, string){
		"the stream is deleted": func(t *testing.T, s *natstest.Server, stream string) {
			if _, err := natstest.Connect(t, s.URL()).Request("$JS.API.STREAM.DELETE."+stream, nil, 5*time.Second); err != nil {
				t.Fatal(err)
			}
		},
		"the store is wiped": func(t *testing.T, s *natstest.Server, _ string) {
			s.Kill()
			if err := os.RemoveAll(s.Dir); err != nil {
				t.Fatal(err)
			}
			s.Run()
			s.Await()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.Start(t)
			cfg := config()
			stream, _ := natsbus.Streams(cfg.Namespace)
			lostInUse(t, s, cfg, func() { lose(t, s, stream) })
		})
	}
}

func lostInUse(t *testing.T, s *natstest.Server, cfg backplane.Config, lose func()) {
	ctx, cancel := context.WithCancel(context.Background())
	stop := make(chan struct{})
	var movers []*mover
	var publishers, followers sync.WaitGroup
	for i := range 3 {
		movers = append(movers, &mover{node: &node{
			name: fmt.Sprint("node", i), log: openLog(t, s.URL(), cfg),
			acked: make(map[string]backplane.Position), changed: make(chan struct{}),
		}})
	}
	end := sync.OnceFunc(func() { close(stop); publishers.Wait() })
	t.Cleanup(func() { end(); cancel(); followers.Wait() })
	b, err := movers[0].log.Bounds(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range movers {
		m.upto = b.Last
		followers.Go(func() {
			if err := m.follow(ctx, b.Last); err != nil {
				m.do(func() { m.ended = err })
			}
		})
		publishers.Go(func() { m.publish(stop) })
	}
	for _, m := range movers {
		m.wait(t, "it publishes and follows", func() bool { return len(m.acked) > 20 && len(m.entries) > 20 })
	}
	lose()
	for _, m := range movers {
		m.wait(t, "it goes on in a new epoch", func() bool { return len(m.moves) > 0 && m.link == nil && len(m.entries) > 50 })
	}
	end()

	// What is accepted last is in the epoch that all end up in.
	var final backplane.Position
	for _, m := range movers {
		for _, p := range m.acked {
			if p.Epoch == movers[0].moves[len(movers[0].moves)-1].Epoch && p.Seq > final.Seq {
				final = p
			}
		}
	}
	if final.Seq == 0 {
		t.Fatal("nothing was accepted in the new epoch")
	}
	var all []string
	for i, m := range movers {
		m.wait(t, "it has all", func() bool { return m.upto.Epoch == final.Epoch && m.upto.Seq >= final.Seq || m.ended != nil })
		m.mu.Lock()
		if m.ended != nil {
			t.Errorf("%s: %v", m.name, m.ended)
		}
		at := make(map[string]backplane.Position)
		var texts []string
		for _, e := range m.entries {
			if _, again := at[string(e.Data)]; again {
				t.Errorf("%s: %q twice", m.name, e.Data)
			}
			at[string(e.Data)] = e.Position
			texts = append(texts, string(e.Data))
		}
		m.mu.Unlock()
		if i == 0 {
			all = texts
		} else if n := min(len(all), len(texts)); !slices.Equal(all[:n], texts[:n]) {
			t.Errorf("%s got other entries than %s", m.name, movers[0].name)
		}
		for _, from := range movers {
			for data, p := range from.acked {
				if p.Epoch == final.Epoch && at[data] != p {
					t.Errorf("%s: %q was accepted at %v and is at %v", m.name, data, p, at[data])
				}
			}
		}
		t.Logf("%s moved: %v", m.name, m.moves)
		if m.worst > publishDeadline+500*time.Millisecond {
			t.Errorf("%s: a publish took %v", m.name, m.worst)
		}
	}
	// The register works again too, whether or not it was lost.
	w := &world{t: t, nodes: []*node{movers[0].node, movers[1].node, movers[2].node}}
	w.registers("after")
}
