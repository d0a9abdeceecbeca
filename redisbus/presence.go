package redisbus

import (
	"context"
	"fmt"
	"slices"

	"github.com/sseplane/sseplane/backplane"
)

// Presence implements [backplane.Register].
func (l *log) Presence(ctx context.Context, clients ...string) ([]backplane.Presence, error) {
	if err := validClients(clients); err != nil {
		return nil, err
	}
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	defer l.work.Done()
	k := &l.keys
	out := make([]backplane.Presence, 0, len(clients))
	for part := range slices.Chunk(clients, clientsPerCall) {
		args := make([]any, len(part))
		for i, c := range part {
			args[i] = c
		}
		reply, err := l.call(ctx, "presence", presenceScript, []string{k.leases, k.sessions, k.clients, k.left}, args...)
		if err != nil {
			return nil, err
		}
		digits, _ := reply[0].(string)
		if len(digits) != len(part) {
			return nil, fmt.Errorf("redisbus: presence: unexpected reply %.80v", reply)
		}
		for i := range digits {
			out = append(out, backplane.Presence(digits[i]-'0'))
		}
	}
	return out, nil
}
