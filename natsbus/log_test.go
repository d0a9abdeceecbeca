package natsbus_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/natsbus/internal/natstest"
)

func config() backplane.Config {
	return backplane.Config{
		Namespace:         "test " + rand.Text(),
		RetentionAge:      10 * time.Minute,
		RetentionBytes:    64 << 20,
		IdempotencyWindow: 2 * time.Minute,
		ResumeGrace:       time.Minute,
	}
}

func openLog(t testing.TB, url string, cfg backplane.Config, opts ...natsbus.Option) backplane.Log {
	t.Helper()
	bus, err := natsbus.New(natstest.Connect(t, url), opts...)
	if err != nil {
		t.Fatal(err)
	}
	l, err := bus.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

type follower struct {
	pages chan backplane.Page
	links chan error
}

func (f *follower) Page(p backplane.Page) { f.pages <- p }
func (f *follower) Link(err error)        { f.links <- err }

func TestFirst(t *testing.T) {
	s := natstest.Start(t)
	l := openLog(t, s.URL(), config())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b, err := l.Bounds(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("bounds %+v", b)
	f := &follower{make(chan backplane.Page, 100), make(chan error, 100)}
	done := make(chan error, 1)
	fctx, stop := context.WithCancel(ctx)
	go func() { done <- l.Follow(fctx, b.Last, f) }()
	var last []backplane.Position
	for n := range uint64(5) {
		batch := backplane.Batch{Producer: "p", Number: n + 1}
		for i := range 3 {
			batch.Messages = append(batch.Messages, backplane.Message{Data: fmt.Appendf(nil, "%d-%d", n, i)})
		}
		batch.Messages = append(batch.Messages, backplane.Message{Key: fmt.Sprint("k", n/2), Data: []byte("keyed")})
		start := time.Now()
		pos, err := l.Publish(ctx, batch)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(pos, time.Since(start))
		again, err := l.Publish(ctx, batch)
		t.Log(again, err)
		last = pos
	}
	_ = last
	page, err := l.Read(ctx, b.Last, 1000)
	t.Logf("%d entries upto %v, %v", len(page.Entries), page.Upto, err)
	tail, err := l.Tail(ctx, 20)
	t.Logf("%+v, %v", tail, err)
	time.Sleep(1200 * time.Millisecond)
	stop()
	t.Log(<-done)
	close(f.pages)
	for p := range f.pages {
		t.Logf("page after %v upto %v %d", p.After, p.Upto, len(p.Entries))
	}
	close(f.links)
	for err := range f.links {
		t.Logf("link %v", err)
	}
}
