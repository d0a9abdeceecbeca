package redisbus

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
)

const (
	// sessionsPerCall is how many sessions one script adds, ends or reads: it keeps
	// the server from others for a few milliseconds at most.
	sessionsPerCall = 250
	// clientsPerCall is how many clients one script looks for.
	clientsPerCall = 250
)

// Update implements [backplane.Register].
func (l *log) Update(ctx context.Context, node string, add []backplane.Session, end []string) (backplane.UpdateResult, error) {
	var result backplane.UpdateResult
	if err := validUpdate(node, add, end); err != nil {
		return result, err
	}
	if err := l.enter(ctx); err != nil {
		return result, err
	}
	defer l.work.Done()

	joined := make(map[string]struct{})
	for first := true; first || len(add) > 0 || len(end) > 0; first = false {
		// Adding comes first, so that a session that is in both lists ends.
		n := min(len(add), sessionsPerCall)
		m := min(len(end), sessionsPerCall-n)
		if err := l.update(ctx, node, add[:n], end[:m], joined, &result); err != nil {
			return backplane.UpdateResult{}, err
		}
		add, end = add[n:], end[m:]
	}
	return result, nil
}

// update is one script call. joined has the clients that are in result.Joined.
func (l *log) update(ctx context.Context, node string, add []backplane.Session, end []string, joined map[string]struct{}, result *backplane.UpdateResult) error {
	args := []any{node, micros(l.cfg.ResumeGrace), micros(l.rememberEnded()), l.ttl.Milliseconds(), len(add)}
	clients := make([]string, 0, len(add))
	for i := range add {
		args = append(args, add[i].ID, add[i].Client, sessionRest(&add[i]))
		clients = append(clients, add[i].Client)
	}
	for _, id := range end {
		args = append(args, id)
	}
	slices.Sort(clients)
	clients = slices.Compact(clients)

	type answer struct {
		reply []any
		facts []map[string]string
	}
	r, err := do(ctx, l, "update", callTimeout, func(ctx context.Context) (answer, error) {
		var cmds []*redis.MapStringStringCmd
		reply, err := updateScript.pipelined(ctx, l.commands, l.keys.ofRegister(), args, func(p redis.Pipeliner) {
			cmds = l.askFacts(ctx, p, clients)
		})
		if err != nil {
			return answer{}, err
		}
		facts, err := factMaps(cmds)
		return answer{reply, facts}, err
	})
	if err := swept("update", node, r.reply, err); err != nil {
		return err
	}
	if len(r.reply) != 4 {
		return fmt.Errorf("redisbus: update: unexpected reply %.80v", r.reply)
	}
	now := replies{list: r.reply[1:2]}
	firsts, _ := r.reply[2].([]any)
	for _, at := range firsts {
		i, _ := at.(int64)
		client := add[i-1].Client
		if _, ok := joined[client]; !ok {
			joined[client] = struct{}{}
			result.Joined = append(result.Joined, client)
		}
	}
	ended, _ := r.reply[3].([]any)
	for pair := range slices.Chunk(ended, 2) {
		id, _ := pair[0].(string)
		record, _ := pair[1].(string)
		s, err := parseSession(id, record)
		if err != nil {
			return err
		}
		d := backplane.Debt{Kind: backplane.SessionEnded, Session: s}
		if !slices.ContainsFunc(result.Ended, func(was backplane.Debt) bool { return was.Session.ID == id }) {
			result.Ended = append(result.Ended, d)
		}
	}
	at := now.time()
	for i, c := range clients {
		result.Facts = appendFacts(result.Facts, c, r.facts[i], at)
	}
	return now.err
}

// rememberEnded is how long, at least, a session that has ended is known not to come
// back, should its registration have been delayed on the way.
func (l *log) rememberEnded() time.Duration { return max(l.cfg.RetentionAge, l.cfg.ResumeGrace) }

func validUpdate(node string, add []backplane.Session, end []string) error {
	if err := validNode(node); err != nil {
		return err
	}
	for i := range add {
		s := &add[i]
		if s.Node != node {
			return fmt.Errorf("redisbus: session %q is of node %q, not of %q", s.ID, s.Node, node)
		}
		if len(s.NodeName) > backplane.MaxNameLen {
			return fmt.Errorf("redisbus: name of a node of %d bytes", len(s.NodeName))
		}
		for _, name := range append([]string{s.ID, s.Client}, s.Topics...) {
			if err := backplane.ValidName(name); err != nil {
				return fmt.Errorf("redisbus: session %q: %w", s.ID, err)
			}
		}
	}
	for _, id := range end {
		if err := backplane.ValidName(id); err != nil {
			return fmt.Errorf("redisbus: session: %w", err)
		}
	}
	return nil
}

// Sessions implements [backplane.Register].
func (l *log) Sessions(ctx context.Context, clients ...string) iter.Seq2[backplane.Session, error] {
	return func(yield func(backplane.Session, error) bool) {
		if err := validClients(clients); err != nil {
			yield(backplane.Session{}, err)
			return
		}
		ranges := [][]any{{"-", "+"}}
		if len(clients) > 0 {
			names := slices.Clone(clients)
			slices.Sort(names)
			ranges = ranges[:0]
			for part := range slices.Chunk(slices.Compact(names), clientsPerCall) {
				var bounds []any
				for _, c := range part {
					bounds = append(bounds, "["+frame(c), "("+frame(c)+"\xff")
				}
				ranges = append(ranges, bounds)
			}
		}
		for _, bounds := range ranges {
			for len(bounds) > 0 {
				page, rest, err := l.sessionsPage(ctx, bounds)
				if err != nil {
					yield(backplane.Session{}, err)
					return
				}
				for i := range page {
					if !yield(page[i], nil) {
						return
					}
				}
				bounds = rest
			}
		}
	}
}

// sessionsPage reads a page of sessions within bounds, and returns what is left of these.
func (l *log) sessionsPage(ctx context.Context, bounds []any) (page []backplane.Session, rest []any, err error) {
	if err := l.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer l.work.Done()
	k := &l.keys
	reply, err := l.call(ctx, "sessions", sessionsScript, []string{k.leases, k.sessions, k.clients},
		append([]any{2 * sessionsPerCall}, bounds...)...)
	if err != nil {
		return nil, nil, err
	}
	for pair := range slices.Chunk(reply[2:], 2) {
		id, _ := pair[0].(string)
		record, _ := pair[1].(string)
		s, err := parseSession(id, record)
		if err != nil {
			return nil, nil, err
		}
		page = append(page, s)
	}
	if i, _ := reply[0].(int64); i > 0 {
		rest = slices.Clone(bounds[2*(i-1):])
		rest[0] = reply[1]
	}
	return page, rest, nil
}

func validClients(clients []string) error {
	for _, c := range clients {
		if err := backplane.ValidName(c); err != nil {
			return fmt.Errorf("redisbus: client: %w", err)
		}
	}
	return nil
}
