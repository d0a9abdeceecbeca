package client_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

// drain reads a subscription as the old code does, until the error, and fails on a nil event.
func drain(t *testing.T, sub *client.Subscription) (string, error) {
	var all []string
	for {
		select {
		case e := <-sub.Feed():
			if e == nil {
				t.Error("nil event before the error")
				return "", nil
			}
			all = append(all, show(e))
		case err := <-sub.ErrFeed():
			return strings.Join(all, " "), err
		}
	}
}

func TestSubscribeByType(t *testing.T) {
	const in = "data: a\n\nevent: message\ndata: b\n\nevent: x\ndata: c\n\nevent: y\ndata: d\n\n"
	bubble(t, func(t *testing.T) {
		r, w := io.Pipe()
		s := open(t, serve(body(func() io.ReadCloser { return r })))
		want := map[string]string{"": "||a |message|b |x|c |y|d", "message": "||a |message|b", "x": "|x|c", "none": ""}
		var wg sync.WaitGroup
		handled := map[string]*[]string{}
		for eventType, want := range want {
			sub, err := s.Subscribe(eventType)
			if err != nil || sub.EventType() != eventType {
				t.Fatal(sub.EventType(), err)
			}
			wg.Go(func() {
				if got, err := drain(t, sub); got != want || err != client.ErrNoContent {
					t.Errorf("%q: %q, %v", eventType, got, err)
				}
			})
			var got []string
			handled[eventType] = &got
			if _, err := s.Handle(eventType, func(e sse.Event) { got = append(got, show(e)) }); err != nil {
				t.Fatal(err)
			}
		}
		wg.Go(func() {
			if got, err := collect(s); got != want[""] || err != client.ErrNoContent {
				t.Errorf("Events: %q, %v", got, err)
			}
		})
		synctest.Wait()
		io.WriteString(w, in)
		w.Close()
		wg.Wait()
		synctest.Wait()
		for eventType, got := range handled {
			if strings.Join(*got, " ") != want[eventType] {
				t.Errorf("Handle(%q): %q", eventType, *got)
			}
		}
	})
}

func TestNothingIsReadBeforeAReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, serve(text("data: a\n\n")))
		time.Sleep(time.Hour)
		if got, err := collect(s); got != "||a" || err != client.ErrNoContent {
			t.Error(got, err)
		}
	})
}

func TestEventsContinue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, serve(text("data: a\n\ndata: b\n\ndata: c\n\n")))
		for range s.Events() {
			break
		}
		if got, err := collect(s); got != "||b ||c" || err != client.ErrNoContent {
			t.Error(got, err)
		}
		if got, err := collect(s); got != "" || err != client.ErrNoContent {
			t.Error("again:", got, err)
		}
	})
}

func TestLoopsShareEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n = 1000
		s := open(t, serve(text(strings.Repeat("data: a\n\n", n))))
		var wg sync.WaitGroup
		counts := make([]int, 4)
		for i := range counts {
			wg.Go(func() {
				got, err := collect(s)
				if counts[i] = len(strings.Fields(got)); err != client.ErrNoContent {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if sum := counts[0] + counts[1] + counts[2] + counts[3]; sum != n {
			t.Errorf("%v make %d, want %d", counts, sum, n)
		}
	})
}

// numbered is a stream of n events.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "data: %d\n\n", i)
	}
	return b.String()
}

func TestSlowSubscriptionAmongOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var reported []error
		gate := make(chan struct{})
		s := open(t, serve(gated(gate, numbered(1000))), client.WithBuffer(1000),
			client.WithErrorHook(func(err error) { reported = append(reported, err) }))
		var fast int
		if _, err := s.Handle("", func(sse.Event) { fast++ }); err != nil {
			t.Fatal(err)
		}
		slow, err := s.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		close(gate)
		time.Sleep(2 * time.Second)
		got, err := drain(t, slow)
		if err != client.ErrSlowSubscription || !strings.HasPrefix(got, "||0 ||1 ||2 ") || len(got) > 500 {
			t.Errorf("the slow one: %.100q, %v", got, err)
		}
		synctest.Wait()
		if fast != 1000 || len(reported) == 0 || reported[0] != client.ErrSlowSubscription {
			t.Errorf("the fast one had %d events, reported %v", fast, reported)
		}
		s.Close()
	})
}

// A reader that takes its time with each event must not set the pace of the others.
func TestSlowSubscriptionDoesNotSetThePace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		s := open(t, serve(gated(gate, numbered(1000))), client.WithBuffer(1000))
		s.Handle("", func(sse.Event) { time.Sleep(300 * time.Millisecond) })
		fast := 0
		events := s.Events()
		start := time.Now()
		close(gate)
		for range events {
			if fast++; fast == 1000 {
				break
			}
		}
		if d := time.Since(start); d > 1500*time.Millisecond {
			t.Errorf("the fast one took %v", d)
		}
		s.Close()
		time.Sleep(time.Second) // for the callback that is under way
	})
}

func TestCloseOfSlowSubscription(t *testing.T) {
	for _, closeIt := range []func(*client.Stream, *client.Subscription){
		func(s *client.Stream, _ *client.Subscription) { s.Close() },
		func(s *client.Stream, sub *client.Subscription) { sub.Close(); s.Close() },
	} {
		bubble(t, func(t *testing.T) {
			gate := make(chan struct{})
			s := open(t, serve(gated(gate, numbered(1000))), client.WithBuffer(1000))
			slow, _ := s.Subscribe("")
			s.Handle("", func(sse.Event) {})
			close(gate)
			time.Sleep(time.Minute)
			closeIt(s, slow)
			if err := <-slow.ErrFeed(); err != client.ErrClosed {
				t.Error(err)
			}
		})
	}
}

func TestOnlySubscriptionIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, serve(text(numbered(1000))), client.WithBuffer(500))
		sub, err := s.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, err := drain(t, sub); len(strings.Fields(got)) != 1000 || err != client.ErrNoContent {
			t.Errorf("%d events, %v", len(strings.Fields(got)), err)
		}
	})
}

func TestBackpressure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		s := open(t, serve(gated(gate, numbered(1000))), client.WithBuffer(500), client.WithBackpressure())
		var wg sync.WaitGroup
		for i := range 3 {
			sub, err := s.Subscribe("")
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Hour)
				if got, err := drain(t, sub); len(strings.Fields(got)) != 1000 || err != client.ErrNoContent {
					t.Errorf("%d events, %v", len(strings.Fields(got)), err)
				}
			})
		}
		close(gate)
		wg.Wait()
	})
}

// A stream that waits for its only reader must take notice when it goes, or when another comes.
func TestWaitEndsWithTheReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, serve(text(numbered(1000))), client.WithBuffer(500))
		sub, _ := s.Subscribe("")
		synctest.Wait()
		sub.Close()
		synctest.Wait()
		if s.Err() == nil {
			time.Sleep(time.Minute)
		}
		if s.Err() != client.ErrNoContent {
			t.Error(s.Err())
		}
	})
	bubble(t, func(t *testing.T) {
		s := open(t, serve(hang(numbered(1000))), client.WithBuffer(500))
		slow, _ := s.Subscribe("")
		synctest.Wait()
		s.Handle("", func(sse.Event) {})
		time.Sleep(2 * time.Second)
		if _, err := drain(t, slow); err != client.ErrSlowSubscription {
			t.Error(err)
		}
		s.Close()
	})
}

func TestOldLoopOverFeedAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, serve(text("data: a\n\ndata: b\n\n")))
		sub, _ := s.Subscribe("message")
		var got []string
		for e := range sub.Feed() {
			got = append(got, show(e))
		}
		if fmt.Sprint(got) != "[||a ||b]" {
			t.Error(got)
		}
		if err := <-sub.ErrFeed(); err != client.ErrNoContent {
			t.Error(err)
		}
	})
}

func TestComments(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got []string
		collect(open(t, serve(text(": a\n\n:b\ndata: c\n\n")), client.WithCommentHook(func(c string) { got = append(got, c) })))
		if fmt.Sprint(got) != "[a b]" {
			t.Error(got)
		}
	})
}

func TestSubscribeAfterTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t, serve())
		collect(s)
		if _, err := s.Subscribe(""); err != client.ErrNoContent {
			t.Error(err)
		}
		if _, err := s.Handle("", func(sse.Event) {}); err != client.ErrNoContent {
			t.Error(err)
		}
		s.Close()
		if s.Err() != client.ErrNoContent {
			t.Error("Close changed the reason to", s.Err())
		}
	})
	bubble(t, func(t *testing.T) {
		s := open(t, serve(silent))
		s.Close()
		if _, err := s.Subscribe(""); err != client.ErrClosed {
			t.Error(err)
		}
		if got, err := collect(s); got != "" || err != nil {
			t.Error("a loop after Close:", got, err)
		}
		if !errors.Is(s.Err(), client.ErrClosed) {
			t.Error(s.Err())
		}
	})
}
