package backplanetest

import (
	"slices"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

func epochChecks() []check {
	return []check{
		{"changes once however many ask", epochOnce},
		{"does not change for another epoch's sake", epochOther},
		{"followers of the old one are told in time", epochFollowers},
		{"positions of the old one are ErrEpoch", epochPositions},
		{"nothing from before it is delivered", epochBegan},
		{"goes on under it", epochAfter},
		{"changes while nodes publish and follow", epochBusy},
		{"a position ahead of the log is ErrEpoch", epochAhead},
		{"a position of another entry is ErrEpoch", epochTag},
		{"no position is ErrEpoch", epochNowhere},
		{"the register stays", epochRegister},
	}
}

func (e *env) newEpoch(l backplane.Log, old string) backplane.Bounds {
	e.Helper()
	b, err := l.NewEpoch(e.ctx, old)
	e.must(err, "NewEpoch")
	e.must(sane(b), "NewEpoch")
	return b
}

func epochOnce(e *env) {
	logs := e.nodes(4)
	e.producer(logs[0]).publish("a", "b")
	epochs := map[string]bool{}
	for range e.heavy(10) {
		before := e.bounds(logs[0])
		epochs[before.Epoch] = true
		got := make([]backplane.Bounds, 3*len(logs))
		e.together(len(got), func(i int) (err error) {
			got[i], err = logs[i%len(logs)].NewEpoch(e.ctx, before.Epoch)
			return err
		})
		for _, b := range got {
			e.must(sane(b), "NewEpoch")
			if b.Epoch != got[0].Epoch || b.Began != got[0].Began {
				e.Fatalf("one node got %+v, another %+v", got[0], b)
			}
		}
		if epochs[got[0].Epoch] {
			e.Fatalf("epoch %q comes again", got[0].Epoch)
		}
		if got[0].Began.Seq < before.Last.Seq {
			e.Fatalf("the log ended at %v, the next epoch began at %v", before.Last, got[0].Began)
		}
		if after := e.bounds(logs[1]); after.Epoch != got[0].Epoch || after.Began != got[0].Began {
			e.Fatalf("NewEpoch returned %+v, Bounds %+v", got[0], after)
		}
	}
}

func epochOther(e *env) {
	l := e.node()
	first := e.bounds(l)
	second := e.newEpoch(l, first.Epoch)
	for _, old := range []string{first.Epoch, "never", ""} {
		if b := e.newEpoch(l, old); b.Epoch != second.Epoch || b.Began != second.Began {
			e.Fatalf("NewEpoch of %q changed %+v to %+v", old, second, b)
		}
	}
}

func epochFollowers(e *env) {
	logs := e.nodes(3)
	from := e.bounds(logs[0]).First
	at := e.producer(logs[0]).publish("a", "b")
	var follow []*following
	for _, l := range logs {
		follow = append(follow, e.follow(l, from), e.follow(l, at[1]).connected())
	}
	for _, f := range follow {
		f.reach(at[1])
	}
	e.newEpoch(logs[1], from.Epoch)
	began := time.Now()
	for i, f := range follow {
		e.mustBe(f.end(), backplane.ErrEpoch, "follower %d", i)
	}
	// The contract says 2 seconds; the rest is for a busy machine.
	if took := time.Since(began); took > 10*time.Second {
		e.Fatalf("the last follower was told after %v", took)
	}
}

func epochPositions(e *env) {
	l, other := e.node(), e.node()
	old := e.bounds(l)
	positions := append(e.producer(l).publish("a", "b", "c"), old.First)
	e.newEpoch(l, old.Epoch)
	for _, p := range positions {
		e.isGone(l, p)
		e.isGone(other, p)
	}
	e.producer(other).publish("d", "e", "f", "g")
	for _, p := range positions {
		e.isGone(l, p)
	}
}

// isGone checks that neither Read nor Follow go on from p. A stale page may come
// before Read finds out, and stale entries may before Follow does.
func (e *env) isGone(l backplane.Log, p backplane.Position) {
	e.Helper()
	e.eventually("Read is ErrEpoch", func() (bool, any) {
		page, err := l.Read(e.ctx, p, 1000)
		if err != nil {
			e.mustBe(err, backplane.ErrEpoch, "Read after %v", p)
		}
		return err != nil, page
	})
	e.mustBe(e.follow(l, p).end(), backplane.ErrEpoch, "Follow after %v", p)
}

func epochBegan(e *env) {
	l := e.node()
	old := e.bounds(l)
	e.producer(l).publish("a", "b")
	b := e.newEpoch(e.node(), old.Epoch)
	f := e.follow(l, b.Began).connected()
	if got := e.tail(l, 1<<20, b.Last); len(texts(got.Entries)) != 0 || got.After.Seq < b.Began.Seq {
		e.Fatalf("the tail of %+v: %+v", b, got)
	}
	e.producer(l).publish("c", "d")
	want := []string{"c", "d"}
	if got := texts(f.wait(2)); !slices.Equal(got, want) {
		e.Fatalf("followed %q", got)
	}
	if got := texts(e.readAll(l, b.Began)); !slices.Equal(got, want) {
		e.Fatalf("read %q", got)
	}
	if got := texts(e.tail(l, 1<<20, e.bounds(l).Last).Entries); !slices.Equal(got, want) {
		e.Fatalf("the tail has %q", got)
	}
}

func epochAfter(e *env) {
	l := e.node()
	p := e.producer(l)
	p.send(withKey("k", "before"))
	for range 3 {
		b := e.newEpoch(l, e.bounds(l).Epoch)
		at := b.Began
		for _, position := range p.publish("a", "b") {
			e.must(follows(at, position), "Publish in epoch %v", b.Epoch)
			at = position
		}
		again, err := publish(e.ctx, l, p.last)
		e.must(err, "Publish again")
		if again[1] != at {
			e.Fatalf("first at %v, again at %v", at, again[1])
		}
		if got := texts(e.readAll(l, b.Began)); !slices.Equal(got, []string{"a", "b"}) {
			e.Fatalf("read %q", got)
		}
		p.send(withKey("k", "known"))
		if got := len(e.readAll(l, b.Began)); got != 2 {
			e.Fatal("a key was forgotten with the epoch")
		}
	}
}

// epochBusy changes the epoch while nodes publish and follow: each follower sees
// runs of one epoch each, and nothing from before an epoch under it.
func epochBusy(e *env) {
	logs := e.nodes(3)
	n := e.heavy(100)
	producers := []*producer{e.producer(logs[0]), e.producer(logs[1])}
	first := e.bounds(logs[2])
	e.together(3, func(i int) error {
		if i < len(producers) {
			for range n {
				if _, err := producers[i].try(e.ctx, "x"); err != nil {
					return err
				}
			}
			return nil
		}
		b := first
		for range 5 {
			var err error
			if b, err = logs[2].NewEpoch(e.ctx, b.Epoch); err != nil {
				return err
			}
			if _, err := e.pages(logs[2], b.Began, b.Last, 100, nil); err != nil {
				return err
			}
		}
		return nil
	})
	b := e.bounds(logs[0])
	p := producers[0].publish("end")[0]
	entries := e.follow(logs[1], b.Began).reach(p)
	if string(entries[len(entries)-1].Data) != "end" {
		e.Fatalf("the last entry is %q", entries[len(entries)-1].Data)
	}
	e.isGone(logs[0], first.First)
}

func epochAhead(e *env) {
	l := e.node()
	e.producer(l).publish("a")
	ahead := e.bounds(l).Last
	ahead.Seq += 1 << 40
	e.isGone(l, ahead)
	ahead.Seq = 1<<64 - 1
	e.isGone(l, ahead)
}

func epochTag(e *env) {
	l := e.node()
	p := e.producer(l).publish("a", "b")[0]
	if p.Tag == 0 {
		e.Skip("the positions of this bus have no tags")
	}
	p.Tag = p.Tag%(1<<16-1) + 1
	e.isGone(l, p)
	p.Tag = 0
	if got := texts(e.readAll(l, p)); !slices.Equal(got, []string{"b"}) {
		e.Fatalf("behind a position without its tag: %q", got)
	}
}

func epochNowhere(e *env) {
	l := e.node()
	b := e.bounds(l)
	e.producer(l).publish("a")
	e.isGone(l, backplane.Position{})
	e.isGone(l, backplane.Position{Epoch: "never", Seq: b.Last.Seq})
}

func epochRegister(e *env) {
	l := e.node()
	e.must(l.Renew(e.ctx, "n", time.Minute), "Renew")
	e.update(l, "n", []backplane.Session{session("s", "c", "n")}, nil)
	e.newEpoch(l, e.bounds(l).Epoch)
	e.wantSessions(l, session("s", "c", "n"))
}
