package broker_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
)

func TestExpiry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		begun := time.Now()
		byOption := connect(t, nodes[0], "joe", broker.Expires(begun.Add(100*time.Millisecond)))
		k := newSink()
		byClient := serve(t, k, k, func(w http.ResponseWriter, r *http.Request) error {
			return nodes[0].Serve(w, r, broker.Client{ID: "ann", Expires: begun.Add(time.Minute)})
		})
		never := connect(t, nodes[0], "tom", broker.Expires(time.Time{}))
		byOption.wait()
		if took := time.Since(begun); took < 100*time.Millisecond || took > 200*time.Millisecond {
			t.Errorf("expired after %v", took)
		}
		mustBe(t, byOption.conn.Err(), broker.ErrExpired)
		must(t, nodes[0].Send("joe", text("meanwhile")))
		connectFrom(t, nodes[1], "joe", byOption.lastID()).wants("meanwhile") // is welcome, if identified
		byClient.wait()
		if took := time.Since(begun); took < time.Minute || took > 61*time.Second {
			t.Errorf("expired after %v", took)
		}
		mustBe(t, byClient.err, broker.ErrExpired)
		time.Sleep(time.Hour)
		if never.ended() {
			t.Error("a zero time is never")
		}
	})
}

func TestExpiredAlready(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		r := connect(t, b, "joe", broker.Expires(time.Now().Add(-time.Hour)))
		begun := time.Now()
		r.wait()
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		mustBe(t, r.conn.Err(), broker.ErrExpired)
	})
}

func TestReauthorize(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		var allowed atomic.Bool
		var checks atomic.Int32
		allowed.Store(true)
		denied := errors.New("no longer a member")
		begun := time.Now()
		r := connect(t, b, "joe", broker.Reauthorize(time.Second, func(context.Context) error {
			checks.Add(1)
			if !allowed.Load() {
				return denied
			}
			return nil
		}))
		time.Sleep(10*time.Second + 500*time.Millisecond)
		if n := checks.Load(); n < 9 || n > 10 {
			t.Errorf("%d checks in 10 seconds", n)
		}
		if r.ended() {
			t.Fatalf("ended: %v", r.conn.Err())
		}
		allowed.Store(false)
		r.wait()
		if took := time.Since(begun); took > 13*time.Second {
			t.Errorf("ended after %v", took)
		}
		mustBe(t, r.conn.Err(), broker.ErrExpired)
		mustBe(t, r.conn.Err(), denied)
		n := checks.Load()
		time.Sleep(time.Minute)
		if checks.Load() != n {
			t.Error("checks go on")
		}
	})
}

// A check that hangs is cut off when the next is due, and denies.
func TestReauthorizeThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		var running, most atomic.Int32
		r := connect(t, b, "joe", broker.Reauthorize(time.Second, func(ctx context.Context) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		}))
		must(t, b.Broadcast(text("x")))
		r.wants("x")
		r.wait()
		mustBe(t, r.conn.Err(), broker.ErrExpired)
		if most.Load() != 1 {
			t.Errorf("%d checks at once", most.Load())
		}
	})
}

func TestReauthorizeThatPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		book := new(logbook)
		b := start(t, broker.WithLogger(book.logger()))
		r := connect(t, b, "joe", broker.Reauthorize(time.Second, func(context.Context) error { panic("in the check") }))
		r.wait()
		mustBe(t, r.conn.Err(), broker.ErrExpired)
		if !book.contains("in the check") {
			t.Error("nobody is told")
		}
		must(t, b.Broadcast(text("x")))
	})
}

// A check may call the broker and the connection, and Close waits for none.
func TestReauthorizeThatCallsTheBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		checked := make(chan struct{}, 100)
		connect(t, b, "joe", broker.Reauthorize(time.Second, func(ctx context.Context) error {
			_, err := b.Sessions(ctx, "joe")
			checked <- struct{}{}
			return err
		}))
		<-checked
		hangs := connect(t, b, "ann", broker.Reauthorize(time.Minute, func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		}))
		time.Sleep(61 * time.Second)
		begun := time.Now()
		must(t, b.Close())
		if took := time.Since(begun); took > time.Second {
			t.Errorf("Close took %v", took)
		}
		hangs.wait()
	})
}

func TestBadConnectOptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		for name, option := range map[string]broker.ConnectOption{
			"Since":       broker.Since(0),
			"Since, -1":   broker.Since(-1),
			"Reauthorize": broker.Reauthorize(time.Millisecond, func(context.Context) error { return nil }),
			"no function": broker.Reauthorize(time.Minute, nil),
		} {
			k := newSink()
			r, _ := request(t)
			_, err := b.Connect("joe", k, r, option)
			mustBe(t, err, broker.ErrInvalidOption)
			if k.code() != http.StatusInternalServerError {
				t.Errorf("%s: status %d", name, k.code())
			}
		}
		synctest.Wait()
		if b.IsClientPresent("joe") {
			t.Error("is present")
		}
	})
}
