package backplanetest

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// long is a lease that does not lapse during a check.
const long = 10 * time.Minute

// session returns a session with every field set.
func session(id, client, node string, topics ...string) backplane.Session {
	return backplane.Session{ID: id, Client: client, Node: node, NodeName: "name of " + node, Topics: topics}
}

// sessionsOf returns n sessions of a node, each of a client of its own.
func sessionsOf(node string, n int) []backplane.Session {
	out := make([]backplane.Session, n)
	for i := range out {
		out[i] = session(fmt.Sprint(node, "-s", i), fmt.Sprint(node, "-c", i), node, "topic")
	}
	return out
}

func (e *env) renew(l backplane.Log, node string, ttl time.Duration) {
	e.Helper()
	e.must(l.Renew(e.ctx, node, ttl), "Renew of %s", node)
}

func (e *env) release(l backplane.Log, node string) {
	e.Helper()
	e.must(l.Release(e.ctx, node), "Release of %s", node)
}

func (e *env) update(l backplane.Log, node string, add []backplane.Session, end []string) backplane.UpdateResult {
	e.Helper()
	r, err := l.Update(e.ctx, node, add, end)
	e.must(err, "Update of %s", node)
	return r
}

// add registers sessions, which all have the same node.
func (e *env) add(l backplane.Log, sessions ...backplane.Session) backplane.UpdateResult {
	e.Helper()
	return e.update(l, sessions[0].Node, sessions, nil)
}

func (e *env) settle(l backplane.Log, node string, debts ...backplane.Debt) {
	e.Helper()
	e.must(l.Settle(e.ctx, node, debts), "Settle of %s", node)
}

func (e *env) collect(l backplane.Log, node string, limit int) []backplane.Debt {
	e.Helper()
	debts, err := l.Collect(e.ctx, node, limit)
	e.must(err, "Collect of %s", node)
	if len(debts) > limit {
		e.Fatalf("Collect of %s returned %d debts, asked for at most %d", node, len(debts), limit)
	}
	return debts
}

// drain collects until there is no more.
func (e *env) drain(l backplane.Log, node string, limit int) []backplane.Debt {
	e.Helper()
	debts, err := drain(e.ctx, l, node, limit)
	e.must(err, "Collect of %s", node)
	return debts
}

func drain(ctx context.Context, l backplane.Log, node string, limit int) ([]backplane.Debt, error) {
	var all []backplane.Debt
	for {
		debts, err := l.Collect(ctx, node, limit)
		if err != nil || len(debts) == 0 {
			return all, err
		}
		all = append(all, debts...)
	}
}

// await collects until n debts have come, and returns all that came.
func (e *env) await(l backplane.Log, node string, n int) []backplane.Debt {
	e.Helper()
	var all []backplane.Debt
	e.eventually(fmt.Sprint(n, " debts to collect"), func() (bool, any) {
		all = append(all, e.drain(l, node, 100)...)
		return len(all) >= n, all
	})
	return all
}

// endedDebts are the debts for sessions that ended.
func endedDebts(sessions ...backplane.Session) []backplane.Debt {
	out := make([]backplane.Debt, len(sessions))
	for i, s := range sessions {
		out[i] = backplane.Debt{Kind: backplane.SessionEnded, Session: s}
	}
	return out
}

func leftDebt(client string) backplane.Debt {
	return backplane.Debt{Kind: backplane.ClientLeft, Session: backplane.Session{Client: client}}
}

func (e *env) wantDebts(what string, got, want []backplane.Debt) {
	e.Helper()
	order := func(a, b backplane.Debt) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), byID(a.Session, b.Session))
	}
	same := func(a, b backplane.Debt) bool { return a.Kind == b.Kind && sameSession(a.Session, b.Session) }
	if !slices.EqualFunc(slices.SortedFunc(slices.Values(got), order), slices.SortedFunc(slices.Values(want), order), same) {
		e.Fatalf("%s:\n got %+v,\nwant %+v", what, got, want)
	}
}

func byID(a, b backplane.Session) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Client, b.Client))
}

// sameSession compares two sessions; their topics are in no particular order.
func sameSession(a, b backplane.Session) bool {
	topics := slices.Equal(slices.Sorted(slices.Values(a.Topics)), slices.Sorted(slices.Values(b.Topics)))
	a.Topics, b.Topics = nil, nil
	return topics && reflect.DeepEqual(a, b)
}

// list returns what Sessions returns, and checks that those of one client are next
// to each other and that each comes once.
func list(ctx context.Context, l backplane.Log, clients ...string) ([]backplane.Session, error) {
	var out []backplane.Session
	ids := make(map[string]bool)
	done := make(map[string]bool)
	for s, err := range l.Sessions(ctx, clients...) {
		if err != nil {
			return out, err
		}
		if ids[s.ID] {
			return out, fmt.Errorf("session %q comes twice", s.ID)
		}
		ids[s.ID] = true
		if len(out) > 0 && out[len(out)-1].Client != s.Client {
			done[out[len(out)-1].Client] = true
		}
		if done[s.Client] {
			return out, fmt.Errorf("sessions of client %q are not next to each other", s.Client)
		}
		out = append(out, s)
	}
	return out, nil
}

func (e *env) list(l backplane.Log, clients ...string) []backplane.Session {
	e.Helper()
	sessions, err := list(e.ctx, l, clients...)
	e.must(err, "Sessions of %q", clients)
	return sessions
}

// wantSessions checks all sessions that are live.
func (e *env) wantSessions(l backplane.Log, want ...backplane.Session) {
	e.Helper()
	e.compareSessions("all sessions", e.list(l), want)
}

func (e *env) compareSessions(what string, got, want []backplane.Session) {
	e.Helper()
	got = slices.SortedFunc(slices.Values(got), byID)
	want = slices.SortedFunc(slices.Values(want), byID)
	if !slices.EqualFunc(got, want, sameSession) {
		e.Fatalf("%s:\n got %+v,\nwant %+v", what, got, want)
	}
}

func (e *env) wantJoined(r backplane.UpdateResult, want ...string) {
	e.Helper()
	if !slices.Equal(slices.Sorted(slices.Values(r.Joined)), slices.Sorted(slices.Values(want))) {
		e.Fatalf("joined: got %q, want %q", r.Joined, want)
	}
}

func (e *env) presence(l backplane.Log, clients ...string) []backplane.Presence {
	e.Helper()
	got, err := l.Presence(e.ctx, clients...)
	e.must(err, "Presence")
	if len(got) != len(clients) {
		e.Fatalf("presence of %d clients: %v", len(clients), got)
	}
	return got
}

func (e *env) wantPresence(l backplane.Log, client string, want backplane.Presence) {
	e.Helper()
	if got := e.presence(l, client)[0]; got != want {
		e.Fatalf("presence of %q: got %v, want %v", client, got, want)
	}
}

// becomes waits for a presence that is to come.
func (e *env) becomes(l backplane.Log, client string, want backplane.Presence) {
	e.Helper()
	e.eventually(fmt.Sprintf("presence of %q is %v", client, want), func() (bool, any) {
		got := e.presence(l, client)[0]
		return got == want, got
	})
}
