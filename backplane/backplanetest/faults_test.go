package backplanetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// TestFaultsKeepTheContract runs the suite over lines that are slow, late and
// split pages.
func TestFaultsKeepTheContract(t *testing.T) {
	faults := NewFaults(backplane.NewMemory(), 1)
	Run(t, Harness{
		New: func(t testing.TB) backplane.Backplane {
			l := faults.Line(t.Name())
			l.Delay(0, 3*time.Millisecond)
			l.Late(0, 20*time.Millisecond)
			l.Split(3)
			return l
		},
		Tick:   time.Second,
		Short:  true,
		Bubble: true,
	})
}

// faulty runs f with a namespace on two lines, a and b, in a bubble.
func faulty(t *testing.T, f func(e *env, faults *Faults, a, b backplane.Log)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, Harness{Tick: time.Second, Patience: time.Hour}, "faults")
		faults := NewFaults(backplane.NewMemory(), 1)
		f(e, faults, e.open(faults.Line("a"), e.cfg), e.open(faults.Line("b"), e.cfg))
	})
}

// links is a follower that notes what Link was called with, and when.
type links struct {
	ignore
	at   []time.Time
	errs []error
}

func (l *links) Link(err error) {
	l.at = append(l.at, time.Now())
	l.errs = append(l.errs, err)
}

func TestCutHangs(t *testing.T) {
	faulty(t, func(e *env, faults *Faults, a, b backplane.Log) {
		from := e.bounds(a).First
		faults.Line("a").Cut(Hang)
		ctx, cancel := context.WithTimeout(e.ctx, time.Minute)
		defer cancel()
		p := e.producer(a)
		began := time.Now()
		_, err := p.try(ctx, "x")
		e.mustBe(err, context.DeadlineExceeded, "Publish on a cut line")
		if took := time.Since(began); took != time.Minute {
			e.Fatalf("it took %v", took)
		}
		e.producer(b).publish("of b")
		time.AfterFunc(time.Minute, faults.Line("a").Heal)
		_, err = publish(e.ctx, a, p.last)
		e.must(err, "Publish on a line that was healed")
		if got := texts(e.readAll(b, from)); !slices.Equal(got, []string{"of b", "x"}) {
			e.Fatalf("the log has %q", got)
		}
	})
}

func TestCutRefuses(t *testing.T) {
	faulty(t, func(e *env, faults *Faults, a, b backplane.Log) {
		from := e.bounds(a).First
		line := faults.Line("a")
		line.Delay(time.Second, time.Second)
		p := e.producer(a)
		// The first is cut on the way there, the second on the way back.
		for _, after := range []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond} {
			time.AfterFunc(after, func() { line.Cut(Refuse) })
			_, err := p.try(e.ctx, fmt.Sprint(after))
			e.mustBe(err, ErrCut, "Publish")
			line.Heal()
		}
		if got := texts(e.readAll(b, from)); !slices.Equal(got, []string{"1.5s"}) {
			e.Fatalf("the log has %q", got)
		}
	})
}

func TestCutFollower(t *testing.T) {
	for name, cut := range map[string]func(l *Line){
		"hang":   func(l *Line) { l.Cut(Hang) },
		"refuse": func(l *Line) { l.Cut(Refuse) },
		"freeze": (*Line).Freeze,
	} {
		t.Run(name, func(t *testing.T) {
			faulty(t, func(e *env, faults *Faults, a, b backplane.Log) {
				from := e.bounds(a).First
				f := e.follow(a, from)
				p := e.producer(b)
				p.publish("before")
				f.wait(1)

				told := &links{}
				ctx, cancel := context.WithCancel(e.ctx)
				done := make(chan error)
				go func() { done <- a.Follow(ctx, from, told) }()
				synctest.Wait()
				cutAt := time.Now()
				cut(faults.Line("a"))
				for range 10 {
					p.publish("meanwhile")
					time.Sleep(time.Second)
				}
				if n := len(f.entries()); n != 1 {
					e.Fatalf("%d entries came over a cut line", n-1)
				}
				healedAt := time.Now()
				faults.Line("a").Heal()
				f.wait(11)
				synctest.Wait()
				cancel()
				<-done
				if len(told.errs) != 3 || told.errs[0] != nil || told.errs[1] == nil || told.errs[2] != nil {
					e.Fatalf("Link was called with %v", told.errs)
				}
				if d := told.at[1].Sub(cutAt); d <= 0 || d >= 2*time.Second {
					e.Errorf("told %v after the cut", d)
				}
				if d := told.at[2].Sub(healedAt); d != 0 {
					e.Errorf("told %v after it was healed", d)
				}
			})
		})
	}
}

func TestCutFollowerMissesHistory(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(faults *Faults, namespace string)
		want      error
	}{
		"trimmed":     {func(f *Faults, ns string) { f.Trim(ns, 1) }, backplane.ErrTrimmed},
		"new epoch":   {func(f *Faults, ns string) { f.NewEpoch(ns, 0) }, backplane.ErrEpoch},
		"rolled back": {func(f *Faults, ns string) { f.Rollback(ns, 6) }, backplane.ErrEpoch},
		"lost":        {func(f *Faults, ns string) { f.Lose(ns) }, backplane.ErrEpoch},
	} {
		t.Run(name, func(t *testing.T) {
			faulty(t, func(e *env, faults *Faults, a, b backplane.Log) {
				f := e.follow(a, e.bounds(a).First)
				p := e.producer(b)
				p.publish("a", "b")
				f.wait(2)
				faults.Line("a").Cut(Hang)
				p.publish("c", "d", "e", "f", "g")
				test.meanwhile(faults, e.cfg.Namespace)
				e.producer(b).publish(numbered("again", 10)...)
				synctest.Wait()
				faults.Line("a").Heal()
				e.mustBe(f.end(), test.want, "Follow")
				if n := len(f.entries()); n != 2 {
					e.Fatalf("%d entries came", n)
				}
			})
		})
	}
}

func TestFail(t *testing.T) {
	faulty(t, func(e *env, faults *Faults, a, b backplane.Log) {
		from := e.bounds(a).First
		line := faults.Line("a")
		line.Fail(Publish, Before, 1)
		line.Fail(Publish, After, 1)
		p := e.producer(a)
		for _, data := range []string{"before", "after"} {
			_, err := p.try(e.ctx, data)
			e.mustBe(err, ErrInjected, "Publish")
		}
		p.publish("then")
		e.producer(b).publish("of b")
		if got := texts(e.readAll(a, from)); !slices.Equal(got, []string{"after", "then", "of b"}) {
			e.Fatalf("the log has %q", got)
		}
		e.renew(a, "n", long)
		e.add(a, sessionsOf("n", 4)...)
		line.Fail(Sessions, After, 1)
		got, err := list(e.ctx, a)
		e.mustBe(err, ErrInjected, "Sessions")
		if len(got) != 2 {
			e.Fatalf("%d sessions came before the error", len(got))
		}
		line.Fail(Open, After, 1)
		_, err = line.Open(e.ctx, e.cfg)
		e.mustBe(err, ErrInjected, "Open")
	})
}

// TestFailRate also shows that the same seed fails the same calls.
func TestFailRate(t *testing.T) {
	outcome := func(seed uint64) (failed []bool) {
		synctest.Test(t, func(t *testing.T) {
			e := newEnv(t, Harness{Patience: time.Hour}, "rate")
			faults := NewFaults(backplane.NewMemory(), seed)
			l := e.open(faults.Line("a"), e.cfg)
			from := e.bounds(l).First
			faults.Line("a").FailRate(Before, 0.3)
			faults.Line("a").FailRate(After, 0.3)
			p := e.producer(l)
			var want []string
			for i := range 100 {
				want = append(want, fmt.Sprint(i))
				_, err := p.try(e.ctx, want[i])
				for ; err != nil; _, err = publish(e.ctx, l, p.last) {
					e.mustBe(err, ErrInjected, "Publish")
					failed = append(failed, true)
				}
				failed = append(failed, false)
			}
			faults.Calm()
			if got := texts(e.readAll(l, from)); !slices.Equal(got, want) {
				e.Fatalf("the log has %q", got)
			}
		})
		return failed
	}
	first, same, other := outcome(1), outcome(1), outcome(2)
	if !slices.Equal(first, same) || slices.Equal(first, other) || !slices.Contains(first, true) {
		t.Errorf("seed 1: %v and %v, seed 2: %v", first, same, other)
	}
}

func TestDelay(t *testing.T) {
	faulty(t, func(e *env, faults *Faults, a, b backplane.Log) {
		faults.Line("a").Delay(10*time.Millisecond, 20*time.Millisecond)
		for range 50 {
			began := time.Now()
			e.bounds(a)
			if took := time.Since(began); took < 20*time.Millisecond || took > 40*time.Millisecond {
				e.Fatalf("a call there and back took %v", took)
			}
		}
		began := time.Now()
		e.bounds(b)
		if took := time.Since(began); took != 0 {
			e.Fatalf("a call over another line took %v", took)
		}
	})
}

func TestLateAndSplit(t *testing.T) {
	faulty(t, func(e *env, faults *Faults, a, b backplane.Log) {
		from := e.bounds(a).First
		faults.Line("a").Late(time.Second, time.Hour)
		faults.Line("a").Split(3)
		pages := 0
		late := e.followWith(a, from, func(p backplane.Page) {
			if pages++; len(p.Entries) > 3 {
				e.Errorf("a page has %d entries", len(p.Entries))
			}
		}).connected()
		prompt := e.follow(b, from).connected()
		began := time.Now()
		e.producer(b).publish(numbered("x", 20)...)
		prompt.wait(20)
		if took := time.Since(began); took != 0 {
			e.Errorf("the other line took %v", took)
		}
		synctest.Wait()
		if n := len(late.entries()); n != 0 {
			e.Errorf("%d entries are not late", n)
		}
		late.wait(20)
		if took := time.Since(began); took < time.Second || took >= 2*time.Second {
			e.Errorf("late by %v", took)
		}
		if pages < 7 {
			e.Errorf("%d pages", pages)
		}
	})
}

func TestFreezeReadsStale(t *testing.T) {
	faulty(t, func(e *env, faults *Faults, a, b backplane.Log) {
		from := e.bounds(a).First
		f := e.follow(a, from)
		p := e.producer(b)
		old := p.publish("a", "b")
		f.wait(2)
		faults.Line("a").Freeze()
		p.publish("c", "d")
		page, err := a.Read(e.ctx, from, 1000)
		e.must(err, "Read")
		if got := texts(page.Entries); !slices.Equal(got, []string{"a", "b"}) || page.Upto != old[1] {
			e.Errorf("read %q up to %v", got, page.Upto)
		}
		if page, err = a.Read(e.ctx, old[1], 1000); err != nil || len(page.Entries) > 0 || page.Upto != old[1] {
			e.Errorf("read %+v, %v", page, err)
		}
		if page, err = a.Tail(e.ctx, 1); err != nil || len(page.Entries) > 0 {
			e.Errorf("the tail is %+v, %v", page, err)
		}
		if e.bounds(a).Last.Seq <= old[1].Seq {
			e.Error("the bounds are stale")
		}
		e.producer(a).publish("e")
		faults.Line("a").Heal()
		if got := texts(f.wait(5)); !slices.Equal(got, []string{"a", "b", "c", "d", "e"}) {
			e.Errorf("followed %q", got)
		}
	})
}

func TestCloseOnCutLine(t *testing.T) {
	for _, how := range []Outage{Hang, Refuse} {
		faulty(t, func(e *env, faults *Faults, a, _ backplane.Log) {
			f := e.follow(a, e.bounds(a).First).connected()
			faults.Cut(how)
			if how == Hang {
				time.AfterFunc(time.Second, func() { e.must(a.Close(e.ctx), "Close") })
				_, err := a.Bounds(e.ctx)
				e.mustBe(err, backplane.ErrClosed, "Bounds")
			}
			e.must(a.Close(e.ctx), "Close")
			e.mustBe(f.end(), backplane.ErrClosed, "Follow")
			_, err := a.Bounds(e.ctx)
			e.mustBe(err, backplane.ErrClosed, "Bounds")
		})
	}
}

func TestBusFaults(t *testing.T) {
	faulty(t, func(e *env, faults *Faults, a, b backplane.Log) {
		ns := e.cfg.Namespace
		from := e.bounds(a).First
		f := e.follow(a, from)
		positions := e.producer(b).publish("a", "b")
		faults.Mark(ns)
		last := e.bounds(a).Last
		if last == positions[1] {
			e.Error("a mark did not move the end")
		}
		f.reach(last)
		faults.Foreign(ns)
		f.reach(e.bounds(a).Last)
		if n := len(f.entries()); n != 2 {
			e.Errorf("%d entries", n)
		}
		e.renew(a, "n", long)
		e.add(a, session("s", "c", "n"))
		faults.Lapse(ns, "n")
		e.wantSessions(b)
		e.renew(a, "n", long)
		e.wantSessions(b, session("s", "c", "n"))
		faults.Lapse(ns, "n")
		e.renew(b, "o", long)
		e.wantDebts("collected", e.drain(b, "o", 10), endedDebts(session("s", "c", "n")))
		faults.Lose(ns)
		e.mustBe(f.end(), backplane.ErrEpoch, "Follow")
		e.wantPresence(a, "c", backplane.Absent)
	})
}

func TestTamperNeedsMemory(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("tampering with nothing did not panic")
		}
	}()
	NewFaults(struct{ backplane.Backplane }{}, 1).Trim("n", 1)
}

var errForeign = errors.New("foreign")

// failing is a backplane that cannot be reached.
type failing struct{}

func (failing) Open(context.Context, backplane.Config) (backplane.Log, error) {
	return nil, errForeign
}

func TestErrorsPassThrough(t *testing.T) {
	if _, err := NewFaults(failing{}, 1).Open(t.Context(), backplane.Config{}); !errors.Is(err, errForeign) {
		t.Errorf("got %v", err)
	}
}
