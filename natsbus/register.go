package natsbus

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// What one command holds of a large call, and one page of Sessions.
const (
	commandSessions = 1000
	commandBytes    = 256 << 10
	sessionsPage    = 256
)

// Renew implements [backplane.Register].
func (l *busLog) Renew(ctx context.Context, node string, ttl time.Duration) error {
	if ttl <= 0 {
		return fmt.Errorf("natsbus: lease of %v is not positive", ttl)
	}
	_, err := l.change(ctx, command{Op: opRenew, Node: node, TTL: ttl})
	return err
}

// Release implements [backplane.Register].
func (l *busLog) Release(ctx context.Context, node string) error {
	_, err := l.change(ctx, command{Op: opRelease, Node: node})
	return err
}

// change does one command.
func (l *busLog) change(ctx context.Context, c command) (res result, err error) {
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return res, err
	}
	res, err = l.register.do(ctx, c)
	return res, leave(err)
}

// Update implements [backplane.Register]. A call that is too large for one
// message is several commands, the later of which may fail alone.
func (l *busLog) Update(ctx context.Context, node string, add []backplane.Session, end []string) (all backplane.UpdateResult, err error) {
	if err := validSessions(node, add); err != nil {
		return all, err
	}
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return all, err
	}
	defer func() {
		if err = leave(err); err != nil {
			all = backplane.UpdateResult{}
		}
	}()
	limit := l.main.messageLimit(commandBytes)
	joined := make(map[string]struct{})
	seen := make(map[string]struct{}) // clients whose facts are there
	for first := true; first || len(add) > 0 || len(end) > 0; first = false {
		c := command{Op: opUpdate, Node: node}
		c.Add, add = portion(limit, sessionsJSON, add, func(s backplane.Session) int {
			n := 64 + len(s.ID) + len(s.Client) + len(s.NodeName)
			for _, t := range s.Topics {
				n += 8 + len(t)
			}
			return n
		})
		if len(add) == 0 { // ends come behind all that is added
			c.End, end = portion(limit, slices.Clone[[]string], end, func(id string) int { return 8 + len(id) })
		}
		res, err := l.register.do(ctx, c)
		if err != nil {
			return all, err
		}
		// A client whose sessions are in several commands is in several results.
		for _, name := range res.update.Joined {
			if _, again := joined[name]; !again {
				joined[name] = struct{}{}
				all.Joined = append(all.Joined, name)
			}
		}
		all.Ended = append(all.Ended, res.update.Ended...)
		had := maps.Clone(seen)
		for _, f := range res.update.Facts {
			if _, again := had[f.Client]; !again {
				all.Facts = append(all.Facts, f)
				seen[f.Client] = struct{}{}
			}
		}
	}
	return all, nil
}

// portion cuts what goes into one command off the front of items: limit bytes, about, or
// one item.
func portion[T, U any](limit int, convert func([]T) []U, items []T, size func(T) int) ([]U, []T) {
	bytes, n := 0, 0
	for n < len(items) && n < commandSessions {
		if bytes += size(items[n]); bytes > limit && n > 0 {
			break
		}
		n++
	}
	return convert(items[:n]), items[n:]
}

func validSessions(node string, sessions []backplane.Session) error {
	for i := range sessions {
		s := &sessions[i]
		if s.Node != node {
			return fmt.Errorf("natsbus: session %q is of node %q, not of %q", s.ID, s.Node, node)
		}
		if err := backplane.ValidName(s.ID); err != nil {
			return fmt.Errorf("natsbus: session: %w", err)
		}
		if err := backplane.ValidName(s.Client); err != nil {
			return fmt.Errorf("natsbus: client: %w", err)
		}
		for _, topic := range s.Topics {
			if err := backplane.ValidName(topic); err != nil {
				return fmt.Errorf("natsbus: topic: %w", err)
			}
		}
	}
	return nil
}

// Collect implements [backplane.Register].
func (l *busLog) Collect(ctx context.Context, node string, max int) ([]backplane.Debt, error) {
	res, err := l.change(ctx, command{Op: opCollect, Node: node, Max: min(max, commandSessions)})
	return res.debts, err
}

// Settle implements [backplane.Register].
func (l *busLog) Settle(ctx context.Context, node string, debts []backplane.Debt) (err error) {
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	defer func() { err = leave(err) }()
	keys := make([]debtKey, len(debts))
	for i, d := range debts {
		keys[i] = keyOf(d)
	}
	for len(keys) > 0 {
		c := command{Op: opSettle, Node: node}
		c.Debts, keys = portion(l.main.messageLimit(commandBytes), slices.Clone[[]debtKey], keys, func(k debtKey) int { return 24 + len(k.Name) })
		if _, err := l.register.do(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// Sessions implements [backplane.Register].
func (l *busLog) Sessions(ctx context.Context, clients ...string) iter.Seq2[backplane.Session, error] {
	return func(yield func(backplane.Session, error) bool) {
		names := slices.Clone(clients)
		err := l.look(ctx, func(s *state) {
			if len(clients) == 0 {
				names = slices.AppendSeq(make([]string, 0, len(s.clients)), maps.Keys(s.clients))
			}
		})
		slices.Sort(names)
		for page := range slices.Chunk(slices.Compact(names), sessionsPage) {
			if err != nil {
				break
			}
			var sessions []backplane.Session
			if sessions, err = l.sessionsPage(ctx, page); err != nil {
				break
			}
			for _, s := range sessions {
				if !yield(s, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(backplane.Session{}, err)
		}
	}
}

// sessionsPage returns the sessions of some clients as they are now, or have
// been since the iteration began.
func (l *busLog) sessionsPage(ctx context.Context, names []string) (out []backplane.Session, err error) {
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	known := l.register.peek(func(s *state) {
		for _, name := range names {
			out = s.sessions(out, name)
		}
	})
	if !known {
		err = l.register.read(ctx, func(s *state) {
			out = out[:0]
			for _, name := range names {
				out = s.sessions(out, name)
			}
		})
	}
	for i := range out {
		out[i] = cloneSession(out[i])
	}
	return out, leave(err)
}

// peek calls f with the register as it is here, if it is.
func (r *replica) peek(f func(*state)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == nil {
		return false
	}
	f(r.state)
	return true
}

// look calls f with the present register.
func (l *busLog) look(ctx context.Context, f func(*state)) error {
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	return leave(l.register.read(ctx, f))
}

// Presence implements [backplane.Register].
func (l *busLog) Presence(ctx context.Context, clients ...string) ([]backplane.Presence, error) {
	out := make([]backplane.Presence, len(clients))
	err := l.look(ctx, func(s *state) {
		for i, name := range clients {
			out[i] = s.presence(name)
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Put implements [backplane.Register].
func (l *busLog) Put(ctx context.Context, facts []backplane.Fact) (err error) {
	out := make([]factJSON, len(facts))
	for i, f := range facts {
		if err := backplane.ValidName(f.Client); err != nil {
			return fmt.Errorf("natsbus: client: %w", err)
		}
		if f.TTL <= 0 {
			return fmt.Errorf("natsbus: a fact's TTL of %v is not positive", f.TTL)
		}
		out[i] = factJSON{Client: f.Client, Kind: f.Kind, Name: f.Name, Value: f.Value, Version: f.Version.String(), TTL: f.TTL}
	}
	ctx, leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	defer func() { err = leave(err) }()
	if len(out) == 0 {
		return nil
	}
	e, err := l.epochNow(ctx)
	if err != nil {
		return err
	}
	for len(out) > 0 {
		c := command{Op: opPut, Epoch: e.Epoch}
		c.Facts, out = portion(l.main.messageLimit(commandBytes), slices.Clone[[]factJSON], out, func(f factJSON) int {
			return 96 + len(f.Client) + len(f.Name) + len(f.Value)*4/3
		})
		if _, err := l.register.do(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// Facts implements [backplane.Register].
func (l *busLog) Facts(ctx context.Context, clients ...string) ([]backplane.Fact, error) {
	names := slices.Clone(clients)
	slices.Sort(names)
	var out []backplane.Fact
	err := l.look(ctx, func(s *state) {
		out = nil
		for _, name := range slices.Compact(names) {
			out = s.facts.appendTo(out, name, s.now)
		}
	})
	for i := range out {
		out[i] = cloneFact(out[i])
	}
	return out, err
}

func cloneSession(s backplane.Session) backplane.Session {
	s.Topics = slices.Clone(s.Topics)
	return s
}

func cloneFact(f backplane.Fact) backplane.Fact {
	f.Value = bytes.Clone(f.Value)
	return f
}
