package natsbus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/natsbus/internal/natstest"
)

func batch(producer string, number uint64, data ...string) backplane.Batch {
	b := backplane.Batch{Producer: producer, Number: number}
	for _, d := range data {
		b.Messages = append(b.Messages, backplane.Message{Data: []byte(d)})
	}
	return b
}

// TestForeign: messages of others on the log's subjects have a place in the log
// and nothing else, whatever headers they bring.
func TestForeign(t *testing.T) {
	s := natstest.Start(t)
	cfg := config()
	p := newPast(t, openLog(t, s.URL(), cfg), 2)
	nc := natstest.Connect(t, s.URL())
	subject := natsbus.EntrySubject(cfg.Namespace, "somebody")
	forged := nats.NewMsg(subject)
	forged.Header.Set("Nats-Sequence", "999999")
	forged.Header.Set("Nats-Time-Stamp", "2001-01-01T00:00:00Z")
	forged.Header.Set("Nats-Subject", "other")
	forged.Header.Set("Nats-Last-Sequence", "77")
	forged.Header.Set("Status", "404")
	forged.Data = []byte("forged")
	empty := nats.NewMsg(subject)
	empty.Header.Set("Status", "204")
	cut := nats.NewMsg(subject)
	cut.Data = []byte("sse\x01\x01\x00\x01\x05\x00\x02\x03abc")
	for _, m := range []*nats.Msg{forged, empty, cut} {
		if _, err := nc.RequestMsg(m, 2*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	p.publish(1)
	p.follower.wait(t, "it has all", func() bool { return len(p.follower.entries) == 6 })
	page, err := p.log.Read(within(t), p.bounds.Last, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := p.log.Tail(within(t), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]backplane.Entry{"Follow": p.follower.entries, "Read": page.Entries, "Tail": tail.Entries} {
		if len(got) != 6 {
			t.Fatalf("%s: %d entries", name, len(got))
		}
		for i, want := range []string{"1", "2", "", "", "", "3"} {
			if string(got[i].Data) != want || (got[i].Data == nil) != (want == "") {
				t.Errorf("%s: entry %d is %q, want %q", name, i, got[i].Data, want)
			}
			if time.Since(got[i].Time).Abs() > time.Minute {
				t.Errorf("%s: entry %d is of %v", name, i, got[i].Time)
			}
			if got[i].Position != page.Entries[i].Position {
				t.Errorf("%s: entry %d is at %v, read at %v", name, i, got[i].Position, page.Entries[i].Position)
			}
		}
	}
}

// TestNotLate: what a publish gave up while it was cut off is not published later.
func TestNotLate(t *testing.T) {
	s := natstest.Start(t)
	proxy := natstest.NewProxy(t, s.Addr())
	p := newPast(t, openLog(t, proxy.URL(), config()), 1)
	proxy.Cut()
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		began := time.Now()
		_, err := p.log.Publish(ctx, batch("late", uint64(i+1), "late"))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Publish while cut off: %v", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Fatalf("Publish took %v", took)
		}
	}
	proxy.Heal()
	p.publish(5)
	p.follower.wait(t, "it goes on", func() bool { return len(p.follower.entries) >= 6 })
	page, err := p.log.Read(within(t), p.bounds.Last, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Entries {
		if string(e.Data) == "late" {
			t.Fatal("it was published late")
		}
	}
}

// full makes the device of a server full, and free puts that right; the server is
// restarted either way where it has to be.
type full struct {
	begin func(*testing.T, *natstest.Server)
	fill  func(*testing.T, *natstest.Server)
	free  func(*testing.T, *natstest.Server)
}

// TestDeviceFull: publishers get an error in time, nothing that was accepted is lost, and
// what was in doubt counts once.
func TestDeviceFull(t *testing.T) {
	nothing := func(*testing.T, *natstest.Server) {}
	limited := func(kib int) func(*testing.T, *natstest.Server) {
		return func(_ *testing.T, s *natstest.Server) {
			s.Kill()
			s.FileLimit = kib
			s.Run()
			s.Await()
		}
	}
	for name, f := range map[string]full{
		"files may not grow": {nothing, limited(256), limited(0)},
		"a file system that is full": {
			func(t *testing.T, s *natstest.Server) {
				s.Kill()
				s.Mount(24 << 20)
				s.Run()
				s.Await()
			},
			func(t *testing.T, s *natstest.Server) {
				if err := os.WriteFile(filepath.Join(s.Dir, "filler"), make([]byte, 23<<20), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
			},
			func(t *testing.T, s *natstest.Server) {
				if err := os.Remove(filepath.Join(s.Dir, "filler")); err != nil {
					t.Fatal(err)
				}
				s.Restart() // it does not come back by itself
			},
		},
	} {
		t.Run(name, func(t *testing.T) { deviceFull(t, f) })
	}
}

func deviceFull(t *testing.T, f full) {
	s := natstest.Start(t)
	f.begin(t, s)
	cfg := config()
	cfg.RetentionBytes = 16 << 20
	l := openLog(t, s.URL(), cfg)
	p := newPast(t, l, 10)
	f.fill(t, s)
	large := strings.Repeat("x", 64<<10)
	var accepted []backplane.Position
	var err error
	number := uint64(0)
	for range 64 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		began := time.Now()
		var positions []backplane.Position
		number++
		positions, err = l.Publish(ctx, batch("filler", number, large))
		cancel()
		if took := time.Since(began); took > 2500*time.Millisecond {
			t.Fatalf("Publish took %v", took)
		}
		if err != nil {
			break
		}
		accepted = append(accepted, positions...)
	}
	if err == nil {
		t.Fatal("the device is full, and all is accepted")
	}
	t.Logf("after %d: %v", len(accepted), err)
	f.free(t, s)
	// The same batch again counts once, and what was accepted is there.
	positions, err := l.Publish(within(t), batch("filler", number, large))
	if err != nil {
		t.Fatal(err)
	}
	accepted = append(accepted, positions...)
	p.follower.wait(t, "it has all", func() bool {
		return p.follower.ended != nil || len(p.follower.entries) >= 10+len(accepted)
	})
	if p.follower.ended != nil {
		t.Fatalf("Follow: %v", p.follower.ended)
	}
	for i, e := range p.follower.entries[10:] {
		if e.Position != accepted[i] {
			t.Fatalf("entry %d is at %v, accepted at %v", i, e.Position, accepted[i])
		}
	}
}

// TestLimits: a server that may hold no more says so, at once.
func TestLimits(t *testing.T) {
	s := natstest.Start(t, `accounts { A { jetstream: { max_file: 1M, max_mem: 1M }, users: [ { user: a, password: a } ] } }`)
	url := strings.Replace(s.URL(), "nats://", "nats://a:a@", 1)
	for name, bytes := range map[string]int64{"the stream does not fit": 64 << 20, "the register grows too large": 512 << 10} {
		t.Run(name, func(t *testing.T) {
			cfg := config()
			cfg.RetentionBytes = bytes
			l := openLog(t, url, cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := l.Publish(ctx, batch("p", 1, "x"))
			for i := 0; err == nil && i < 100; i++ {
				err = l.Put(ctx, []backplane.Fact{{Client: fmt.Sprint(i), Kind: backplane.FactMetadata, Value: make([]byte, 64<<10), TTL: time.Hour}})
			}
			var api *jetstream.APIError
			if !errors.As(err, &api) || ctx.Err() != nil {
				t.Fatalf("got %v", err)
			}
			t.Log(err)
		})
	}
}

func TestForeignStream(t *testing.T) {
	s := natstest.Start(t)
	nc := natstest.Connect(t, s.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config()
	name, register := natsbus.Streams(cfg.Namespace)
	for _, config := range []jetstream.StreamConfig{{Name: name, Subjects: []string{"theirs"}}, {Name: register, Subjects: []string{"theirs.too"}}} {
		if _, err := js.CreateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	l := openLog(t, s.URL(), cfg)
	if _, err := l.Bounds(within(t)); !errors.Is(err, natsbus.ErrForeignStream) {
		t.Errorf("Bounds: %v", err)
	}
	if err := l.Renew(within(t), "n", time.Second); !errors.Is(err, natsbus.ErrForeignStream) {
		t.Errorf("Renew: %v", err)
	}
	// Storage can not be changed: that is an error too, not a silent difference.
	cfg = config()
	if _, err := openLog(t, s.URL(), cfg).Bounds(within(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := openLog(t, s.URL(), cfg, natsbus.WithMemoryStorage()).Bounds(within(t)); !errors.Is(err, natsbus.ErrForeignStream) {
		t.Errorf("with other storage: %v", err)
	}
	// Limits are brought to what the newest node wants.
	cfg.RetentionBytes *= 2
	if _, err := openLog(t, s.URL(), cfg).Bounds(within(t)); err != nil {
		t.Fatal(err)
	}
	log, _ := natsbus.Streams(cfg.Namespace)
	stream, err := js.Stream(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().Config.MaxBytes; got != cfg.RetentionBytes {
		t.Errorf("the stream holds %d bytes, want %d", got, cfg.RetentionBytes)
	}
}

// TestPermissions: the permissions of the package comment are enough.
func TestPermissions(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var conf bytes.Buffer
	for _, line := range strings.Split(string(doc), "\n") {
		if rest, ok := strings.CutPrefix(line, "//\tpermit: "); ok {
			fmt.Fprintln(&conf, rest)
		}
	}
	if conf.Len() == 0 {
		t.Fatal("doc.go has no permissions")
	}
	s := natstest.Start(t, fmt.Sprintf(`accounts { A { jetstream: enabled, users: [ { user: a, password: a, permissions: { %s } } ] } }`, conf.String()))
	url := strings.Replace(s.URL(), "nats://", "nats://a:a@", 1)
	bus, err := natsbus.New(natstest.Connect(t, url), natsbus.WithSnapshots(1000))
	if err != nil {
		t.Fatal(err)
	}
	cfg := config()
	cfg.RetentionAge = time.Second
	l, err := bus.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(within(t))
	p := newPast(t, l, 3)
	if _, err := l.Tail(within(t), 100); err != nil {
		t.Error(err)
	}
	if err := l.Renew(within(t), "n", time.Minute); err != nil {
		t.Error(err)
	}
	for i := range 50 {
		session := backplane.Session{ID: fmt.Sprint(i), Client: "c", Node: "n"}
		if _, err := l.Update(within(t), "n", []backplane.Session{session}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.NewEpoch(within(t), p.bounds.Epoch); err != nil {
		t.Error(err)
	}
	log, register := natsbus.Streams(cfg.Namespace)
	for _, stream := range []string{log, register} {
		purged(t, s, stream)
	}
}

// purged waits until a stream has been purged: the log of what is old, the
// register of what is in a snapshot.
func purged(t *testing.T, s *natstest.Server, stream string) {
	t.Helper()
	nc := natstest.Connect(t, strings.Replace(s.URL(), "nats://", "nats://a:a@", 1))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for ctx := within(t); ; {
		info, err := js.Stream(ctx, stream)
		if err != nil {
			t.Fatalf("%s: %v", stream, err)
		}
		if info.CachedInfo().State.FirstSeq > 1 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestCloseLeavesNothing: no goroutine here, no consumer there.
func TestCloseLeavesNothing(t *testing.T) {
	s := natstest.Start(t)
	cfg := config()
	nc := natstest.Connect(t, s.URL())
	bus, err := natsbus.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		l, err := bus.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		b, err := l.Bounds(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Renew(within(t), "n", time.Minute); err != nil {
			t.Fatal(err)
		}
		n := &node{name: "n", changed: make(chan struct{}), upto: b.Last}
		ended := make(chan error, 1)
		go func() { ended <- l.Follow(context.Background(), b.Last, n) }()
		n.wait(t, "it is linked", func() bool { return n.told })
		if err := l.Close(within(t)); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, backplane.ErrClosed) {
			t.Fatalf("Follow: %v", err)
		}
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	log, register := natsbus.Streams(cfg.Namespace)
	for ctx := within(t); ; time.Sleep(20 * time.Millisecond) {
		left := strings.Count(stacks(), "sseplane/natsbus.(*")
		for _, name := range []string{log, register} {
			stream, err := js.Stream(ctx, name)
			if err != nil {
				t.Fatalf("%v; %d goroutines left:\n%s", err, left, stacks())
			}
			left += stream.CachedInfo().State.Consumers
		}
		if left == 0 {
			return
		}
	}
}

func stacks() string {
	buf := make([]byte, 4<<20)
	return string(buf[:runtime.Stack(buf, true)])
}
