package redisbus

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// script is a Lua script that the server keeps under its SHA-1.
type script struct {
	source, sha string
}

func newScript(parts ...string) *script {
	source := strings.Join(parts, "\n")
	sum := sha1.Sum([]byte(source))
	return &script{source, hex.EncodeToString(sum[:])}
}

//go:embed lua/common.lua
var commonLua string

//go:embed lua/meta.lua
var metaLua string

//go:embed lua/append.lua
var appendLua string

//go:embed lua/keys.lua
var keysLua string

//go:embed lua/text.lua
var textLua string

//go:embed lua/history.lua
var historyLua string

//go:embed lua/register.lua
var registerLua string

//go:embed lua/publish.lua
var publishLua string

//go:embed lua/bounds.lua
var boundsLua string

//go:embed lua/state.lua
var stateLua string

//go:embed lua/renew.lua
var renewLua string

//go:embed lua/release.lua
var releaseLua string

//go:embed lua/update.lua
var updateLua string

//go:embed lua/collect.lua
var collectLua string

//go:embed lua/settle.lua
var settleLua string

//go:embed lua/sessions.lua
var sessionsLua string

//go:embed lua/presence.lua
var presenceLua string

//go:embed lua/put.lua
var putLua string

// The scripts, each with the parts that it needs in front of it. They are never changed.
var (
	publishScript  = newScript(commonLua, metaLua, appendLua, keysLua, historyLua, publishLua)
	boundsScript   = newScript(commonLua, metaLua, historyLua, boundsLua)
	stateScript    = newScript(commonLua, stateLua)
	renewScript    = newScript(commonLua, keysLua, renewLua)
	releaseScript  = newScript(textLua, releaseLua)
	updateScript   = newScript(commonLua, keysLua, textLua, registerLua, updateLua)
	collectScript  = newScript(commonLua, keysLua, textLua, registerLua, collectLua)
	settleScript   = newScript(textLua, settleLua)
	sessionsScript = newScript(commonLua, textLua, sessionsLua)
	presenceScript = newScript(commonLua, textLua, presenceLua)
	putScript      = newScript(commonLua, putLua)
)

// run runs the script on a client, and sends its source if the server does not
// have it (any more).
func (s *script) run(ctx context.Context, c redis.Scripter, keys []string, args ...any) ([]any, error) {
	cmd := c.EvalSha(ctx, s.sha, keys, args...)
	if isNoScript(cmd.Err()) {
		cmd = c.Eval(ctx, s.source, keys, args...)
	}
	return replyOf(cmd)
}

// replyOf returns the elements of the reply to a script, or the one that it is.
func replyOf(cmd *redis.Cmd) ([]any, error) {
	reply, err := cmd.Result()
	if err != nil {
		return nil, err
	}
	if list, ok := reply.([]any); ok {
		return list, nil
	}
	return []any{reply}, nil
}

// pipelined runs the script at the head of a pipeline, with what then adds to it behind.
func (s *script) pipelined(ctx context.Context, c redis.Cmdable, keys []string, args []any, then func(redis.Pipeliner)) ([]any, error) {
	c, release := forPipeline(c)
	defer release()
	eval := func(how func(p redis.Pipeliner) *redis.Cmd) (*redis.Cmd, error) {
		p := c.Pipeline()
		cmd := how(p)
		then(p)
		_, err := p.Exec(ctx)
		if scriptErr := cmd.Err(); scriptErr != nil {
			err = scriptErr
		}
		return cmd, err
	}
	cmd, err := eval(func(p redis.Pipeliner) *redis.Cmd { return p.EvalSha(ctx, s.sha, keys, args...) })
	if isNoScript(err) {
		cmd, err = eval(func(p redis.Pipeliner) *redis.Cmd { return p.Eval(ctx, s.source, keys, args...) })
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	return replyOf(cmd)
}

// forPipeline returns what to make a pipeline with, and what to call behind it. go-redis has a pool
// of its own for pipelines, whose connections may lead to another server than those of commands:
// this is one of the latter.
func forPipeline(c redis.Cmdable) (redis.Cmdable, func()) {
	if client, ok := c.(*redis.Client); ok {
		conn := client.Conn()
		return conn, func() { _ = conn.Close() }
	}
	return c, func() {}
}

func isNoScript(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT")
}
