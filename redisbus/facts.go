package redisbus

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
)

// factsPerCall is how many facts one script writes.
const factsPerCall = 250

// Put implements [backplane.Register].
func (l *log) Put(ctx context.Context, facts []backplane.Fact) error {
	for i := range facts {
		f := &facts[i]
		if err := backplane.ValidName(f.Client); err != nil {
			return fmt.Errorf("redisbus: client: %w", err)
		}
		if f.TTL <= 0 {
			return fmt.Errorf("redisbus: a fact's TTL of %v is not positive", f.TTL)
		}
	}
	if err := l.enter(ctx); err != nil {
		return err
	}
	defer l.work.Done()
	for part := range slices.Chunk(facts, factsPerCall) {
		keys := []string{l.keys.meta}
		places := make(map[string]int)
		var args []any
		for i := range part {
			f := &part[i]
			if places[f.Client] == 0 {
				keys = append(keys, l.keys.facts(f.Client))
				places[f.Client] = len(keys)
			}
			epoch := f.Version.Epoch
			if epoch == "" {
				epoch = "-"
			}
			args = append(args, places[f.Client], string('0'+rune(f.Kind))+f.Name, micros(f.TTL),
				epoch, strconv.FormatUint(f.Version.Seq, 10), f.Version.Tag, string(f.Value))
		}
		if _, err := l.call(ctx, "put", putScript, keys, args...); err != nil {
			return err
		}
	}
	return nil
}

// Facts implements [backplane.Register].
func (l *log) Facts(ctx context.Context, clients ...string) ([]backplane.Fact, error) {
	if err := validClients(clients); err != nil {
		return nil, err
	}
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	defer l.work.Done()
	clients = slices.Clone(clients)
	slices.Sort(clients)
	var out []backplane.Fact
	for part := range slices.Chunk(slices.Compact(clients), clientsPerCall) {
		type answer struct {
			now   time.Time
			facts []map[string]string
		}
		r, err := do(ctx, l, "facts", callTimeout, func(ctx context.Context) (answer, error) {
			var cmds []*redis.MapStringStringCmd
			reply, err := stateScript.pipelined(ctx, l.commands, []string{l.keys.meta}, nil, func(p redis.Pipeliner) {
				cmds = l.askFacts(ctx, p, part)
			})
			if err != nil {
				return answer{}, err
			}
			s, err := parseState(reply)
			if err != nil {
				return answer{}, err
			}
			facts, err := factMaps(cmds)
			return answer{s.now, facts}, err
		})
		if err != nil {
			return nil, err
		}
		for i, c := range part {
			out = appendFacts(out, c, r.facts[i], r.now)
		}
	}
	return out, nil
}

func (l *log) askFacts(ctx context.Context, p redis.Pipeliner, clients []string) []*redis.MapStringStringCmd {
	cmds := make([]*redis.MapStringStringCmd, len(clients))
	for i, c := range clients {
		cmds[i] = p.HGetAll(ctx, l.keys.facts(c))
	}
	return cmds
}

func factMaps(cmds []*redis.MapStringStringCmd) ([]map[string]string, error) {
	maps := make([]map[string]string, len(cmds))
	for i, cmd := range cmds {
		m, err := cmd.Result()
		if err != nil {
			return nil, err
		}
		maps[i] = m
	}
	return maps, nil
}

// appendFacts appends the facts of a client that are in force at a time. Malformed ones
// are not ours.
func appendFacts(facts []backplane.Fact, client string, fields map[string]string, now time.Time) []backplane.Fact {
	for field, record := range fields {
		f, until, ok := parseFact(client, field, record)
		if ok && until.After(now) {
			facts = append(facts, f)
		}
	}
	return facts
}

func parseFact(client, field, record string) (f backplane.Fact, until time.Time, ok bool) {
	parts := strings.SplitN(record, " ", 5)
	if len(parts) != 5 || field == "" || field[0] < '0' {
		return f, until, false
	}
	us, err1 := strconv.ParseInt(parts[0], 10, 64)
	seq, err2 := strconv.ParseUint(parts[2], 10, 64)
	tag, err3 := strconv.ParseUint(parts[3], 10, 16)
	if err1 != nil || err2 != nil || err3 != nil {
		return f, until, false
	}
	f = backplane.Fact{Client: client, Kind: backplane.FactKind(field[0] - '0'), Name: field[1:], Value: []byte(parts[4])}
	if parts[1] != "-" {
		f.Version = backplane.Position{Epoch: parts[1], Seq: seq, Tag: uint16(tag)}
	}
	return f, time.UnixMicro(us), true
}
