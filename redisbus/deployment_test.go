package redisbus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/redisbus"
	"github.com/sseplane/sseplane/redisbus/internal/redistest"
)

func TestNewRefuses(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	replicas := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, RouteByLatency: true})
	defer replicas.Close()
	plain := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer plain.Close()
	for _, c := range []struct {
		name, want string
		client     redis.UniversalClient
		option     redisbus.Option
	}{
		{"no client", "no client", nil, nil},
		{"a ring", "*redis.Ring", ring, nil},
		{"reads from replicas", "replicas", replicas, nil},
		{"no prefix", "WithPrefix", plain, redisbus.WithPrefix("")},
		{"a brace in the prefix", "WithPrefix", plain, redisbus.WithPrefix("a{b")},
		{"negative replicas", "WithReplicas", plain, redisbus.WithReplicas(-1, time.Second)},
		{"no time for replicas", "WithReplicas", plain, redisbus.WithReplicas(1, 0)},
		{"no logger", "WithLogger", plain, redisbus.WithLogger(nil)},
	} {
		var options []redisbus.Option
		if c.option != nil {
			options = append(options, c.option)
		}
		if _, err := redisbus.New(c.client, options...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0")
	open := func(client redis.UniversalClient) error {
		log, err := newBus(t, client).Open(t.Context(), testConfig(t))
		if err == nil {
			_ = log.Close(context.Background())
		}
		return err
	}
	if err := open(redis.NewClient(&redis.Options{Addr: p.replica.Addr})); err == nil || !strings.Contains(err.Error(), "not a primary") {
		t.Errorf("a replica: %v", err)
	}
	start := time.Now()
	if err := open(redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})); err == nil || time.Since(start) > 6*time.Second {
		t.Errorf("nobody there: %v after %v", err, time.Since(start))
	}
}

func TestEvictionIsReported(t *testing.T) {
	t.Parallel()
	for policy, reported := range map[string]bool{"noeviction": false, "allkeys-lru": true, "volatile-ttl": true} {
		server := redistest.Start(t, "redis-7.0", redistest.Args("--maxmemory", "100mb", "--maxmemory-policy", policy))
		var out bytes.Buffer
		client := redis.NewClient(&redis.Options{Addr: server.Addr})
		bus := newBus(t, client, redisbus.WithLogger(slog.New(slog.NewTextHandler(&out, nil))))
		log, err := bus.Open(t.Context(), testConfig(t))
		if err != nil {
			t.Fatal(err)
		}
		_ = log.Close(context.Background())
		if got := strings.Contains(out.String(), policy); got != reported {
			t.Errorf("%s: reported %q", policy, out.String())
		}
	}
}

// acl is what package redisbus documents.
func acl(t *testing.T) []any {
	t.Helper()
	var rules []any
	for word := range strings.FieldsSeq(redisbus.ACL) {
		rules = append(rules, word)
	}
	return rules
}

func exercise(t *testing.T, client redis.UniversalClient, options ...redisbus.Option) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg := testConfig(t)
	cfg.RetentionBytes = 2000 // so that it trims
	cfg.RetentionAge = 20 * time.Millisecond
	cfg.IdempotencyWindow = 20 * time.Millisecond
	cfg.ResumeGrace = time.Millisecond
	log, err := newBus(t, client, options...).Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close(context.Background()) }()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	b, err := log.Bounds(ctx)
	check("Bounds", err)
	following, stop := context.WithCancel(ctx)
	n := &node{t: t}
	done := make(chan error, 1)
	go func() { done <- log.Follow(following, b.Last, n) }()
	for i := range 50 {
		_, err := log.Publish(ctx, backplane.Batch{Producer: "p", Number: uint64(i + 1), Messages: []backplane.Message{
			{Key: fmt.Sprint("k", i), Data: make([]byte, 100)}, {Data: []byte("x")},
		}})
		check("Publish", err)
		pass(t, 2*time.Millisecond)
	}
	_, err = log.Tail(ctx, 1000)
	check("Tail", err)
	b, err = log.Bounds(ctx)
	check("Bounds", err)
	_, err = log.Read(ctx, b.First, 1000)
	check("Read", err)
	_, err = log.NewEpoch(ctx, b.Epoch)
	check("NewEpoch", err)
	if err := <-done; !errors.Is(err, backplane.ErrEpoch) && !errors.Is(err, backplane.ErrTrimmed) {
		t.Errorf("Follow: %v", err)
	}
	stop()
	check("Renew", log.Renew(ctx, "n", time.Millisecond))
	check("Renew", log.Renew(ctx, "m", time.Minute))
	_, err = log.Update(ctx, "n", sessionsOf("n", 5), []string{"n/0"})
	check("Update", err)
	facts := []backplane.Fact{{Client: "client 1", Kind: backplane.FactMetadata, TTL: time.Millisecond}}
	for i := range 20 {
		facts = append(facts, backplane.Fact{Client: "client 1", Kind: backplane.FactTopic, Name: fmt.Sprint(i), TTL: time.Millisecond})
	}
	check("Put", log.Put(ctx, facts))
	pass(t, 5*time.Millisecond)
	check("Put", log.Put(ctx, []backplane.Fact{{Client: "client 1", Kind: backplane.FactDisconnect, TTL: time.Minute}}))
	_, err = log.Facts(ctx, "client 1")
	check("Facts", err)
	_, err = log.Presence(ctx, "client 1")
	check("Presence", err)
	for range 3 {
		debts, err := log.Collect(ctx, "m", 3)
		check("Collect", err)
		check("Settle", log.Settle(ctx, "m", debts))
		pass(t, 30*time.Millisecond)
	}
	for _, err := range log.Sessions(ctx) {
		check("Sessions", err)
	}
	check("Release", log.Release(ctx, "m"))
}

// The rules are enough, and each of them is needed where an error would only be seen late.
func TestACL(t *testing.T) {
	t.Parallel()
	for _, version := range redistest.Versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, version)
			server.Do(append([]any{"acl", "setuser", "app", "reset", "on", ">secret", "~sseplane:*"}, acl(t)...)...)
			client := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "app", Password: "secret", DisableIdentity: true})
			exercise(t, client, redisbus.WithReplicas(0, time.Second))
			if denied, _ := server.Do("acl", "log").([]any); len(denied) != 0 {
				t.Errorf("denied: %v", denied)
			}
		})
	}
}

func TestACLOfCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, "redis-7.0")
	for _, s := range append(cluster.Primaries, cluster.Replicas...) {
		s.Do(append([]any{"acl", "setuser", "app", "reset", "on", ">secret", "~sseplane:*"}, acl(t)...)...)
	}
	exercise(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs(), Username: "app", Password: "secret", DisableIdentity: true}))
	for _, s := range cluster.Primaries {
		if denied, _ := s.Do("acl", "log").([]any); len(denied) != 0 {
			t.Errorf("denied: %v", denied)
		}
	}
}

func TestWaitForReplicas(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-8.0")
	client := redis.NewClient(&redis.Options{Addr: p.primary.Addr})
	log, err := newBus(t, client, redisbus.WithReplicas(1, 200*time.Millisecond)).Open(t.Context(), testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close(context.Background()) }()
	batch := func(n uint64) backplane.Batch {
		return backplane.Batch{Producer: "p", Number: n, Messages: []backplane.Message{{Data: []byte("x")}}}
	}
	first, err := log.Publish(t.Context(), batch(1))
	if err != nil {
		t.Fatalf("with a replica: %v", err)
	}
	p.replica.Pause()
	// Repeated, it must wait again, on whatever connection.
	for range 2 {
		if _, err := log.Publish(t.Context(), batch(2)); !errors.Is(err, redisbus.ErrReplicas) {
			t.Fatalf("with the replica paused: %v", err)
		}
	}
	p.replica.Resume()
	redistest.WaitReplica(t, p.replica)
	second, err := log.Publish(t.Context(), batch(2))
	if err != nil {
		t.Fatalf("with the replica again: %v", err)
	}
	page, err := log.Read(t.Context(), first[0], 1000)
	if err != nil || len(page.Entries) != 1 || page.Upto != second[0] {
		t.Errorf("%+v, %v: want one entry at %v", page, err, second[0])
	}
}

// Every key has a time to live, which a quiet follower renews and which ends with the nodes.
func TestKeysExpire(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-7.0")
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	exercise(t, client)
	log := openLog(t, redis.NewClient(&redis.Options{Addr: server.Addr}), testConfig(t))
	if _, err := log.Update(t.Context(), "n3", sessionsOf("n3", 4), []string{"n3/0"}); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Collect(t.Context(), "n4", 2); err != nil {
		t.Fatal(err)
	}
	c := server.Client()
	defer c.Close()
	keys, err := c.Keys(context.Background(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) < 15 {
		t.Errorf("the test has seen only %q", keys)
	}
	// A retention of 10 minutes, 30 s to spare, and a quarter more.
	for _, k := range keys {
		if ttl := c.PTTL(context.Background(), k).Val(); ttl <= 0 || ttl > 14*time.Minute {
			t.Errorf("%s lives for %v", k, ttl)
		}
	}
}

func TestKeysOfQuietNamespaceLive(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-7.0")
	cfg := testConfig(t)
	log := openLog(t, redis.NewClient(&redis.Options{Addr: server.Addr}), cfg)
	positions, err := log.Publish(t.Context(), backplane.Batch{Producer: "p", Number: 1, Messages: []backplane.Message{{Data: []byte("x")}}})
	if err != nil {
		t.Fatal(err)
	}
	c := server.Client()
	defer c.Close()
	base := "sseplane:{" + t.Name() + "}:"
	before := c.PTTL(context.Background(), base+"log").Val()
	// As if almost all of that time had passed.
	soon := time.Now().Add(time.Minute)
	c.HSet(context.Background(), base+"meta", "until", soon.UnixMicro())
	for _, k := range []string{"meta", "log"} {
		c.PExpireAt(context.Background(), base+k, soon)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- log.Follow(ctx, positions[0], &node{t: t}) }()
	redistest.Eventually(t, "the follower renews the keys", func() error {
		for _, k := range []string{"meta", "log"} {
			if ttl := c.PTTL(context.Background(), base+k).Val(); ttl < before-10*time.Second {
				return fmt.Errorf("%s lives for %v", k, ttl)
			}
		}
		return nil
	})
	stop()
	<-done
}

// The log keeps to its bytes, whatever their sizes, and keeps most of them.
func TestRetentionOfBytes(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-8.0")
	cfg := testConfig(t)
	cfg.RetentionBytes = 100_000
	log := openLog(t, redis.NewClient(&redis.Options{Addr: server.Addr}), cfg)
	size := 1
	for i := range 300 {
		size = size*7%1999 + 1
		if _, err := log.Publish(t.Context(), backplane.Batch{Producer: "p", Number: uint64(i + 1), Messages: []backplane.Message{
			{Data: make([]byte, size)}, {Data: make([]byte, size/2)},
		}}); err != nil {
			t.Fatal(err)
		}
		b, err := log.Bounds(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		page, err := log.Read(t.Context(), b.First, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		kept := 0
		for _, e := range page.Entries {
			kept += len(e.Data) + redisbus.EntryOverhead
		}
		if kept > 100_000 || i > 200 && kept < 95_000 {
			t.Fatalf("batch %d: %d bytes are kept", i, kept)
		}
	}
}

func commands(s *redistest.Server) int {
	n, _ := strconv.Atoi(s.Info("total_commands_processed"))
	return n
}

// Ten idle nodes are cheap, and leave no connection behind.
func TestIdleNodes(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-7.0")
	connections := func() int {
		n, _ := strconv.Atoi(server.Info("connected_clients"))
		return n
	}
	idle := connections()
	ctx, stop := context.WithCancel(t.Context())
	var logs []backplane.Log
	done := make(chan error, 10)
	clients := clientsOf(server.Addr, 10)
	for i, c := range clients {
		log, err := newBus(t, c).Open(t.Context(), testConfig(t))
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, log)
		b, err := log.Bounds(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			n := &node{t: t, id: fmt.Sprint(i)}
			done <- log.Follow(ctx, b.Last, n)
		}()
		go func() { // as a broker does
			tick := time.NewTicker(3 * time.Second)
			defer tick.Stop()
			for {
				_ = log.Renew(ctx, fmt.Sprint(i), 10*time.Second)
				_, _ = log.Collect(ctx, fmt.Sprint(i), 100)
				select {
				case <-tick.C:
				case <-ctx.Done():
					done <- nil
					return
				}
			}
		}()
	}
	pass(t, time.Second)
	from := commands(server)
	start := time.Now()
	pass(t, 6*time.Second)
	rate := float64(commands(server)-from) / time.Since(start).Seconds()
	t.Logf("ten idle nodes: %.0f commands a second", rate)
	if rate > 100 {
		t.Errorf("ten idle nodes cost %.0f commands a second", rate)
	}
	stop()
	for range 20 {
		<-done
	}
	for i, log := range logs {
		_ = log.Close(context.Background())
		_ = clients[i].Close()
	}
	redistest.Eventually(t, "all connections are gone", func() error {
		if n := connections(); n > idle {
			return fmt.Errorf("%d connections, %d before", n, idle)
		}
		return nil
	})
}

// Ten thousand sessions connect at once, in fewer than 200 round trips.
func TestManySessions(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "redis-8.0")
	proxy := redistest.NewProxy(t, server.Addr)
	log := openLog(t, redis.NewClient(&redis.Options{Addr: proxy.Addr}), testConfig(t))
	if err := log.Renew(t.Context(), "n", worldLease); err != nil {
		t.Fatal(err)
	}
	scripts := func() int {
		stats := server.Info("cmdstat_evalsha")
		_, rest, _ := strings.Cut(stats, "calls=")
		calls, _, _ := strings.Cut(rest, ",")
		n, _ := strconv.Atoi(calls)
		return n
	}
	const count = 10_000
	sessions := sessionsOf("n", count)
	before := scripts()
	start := time.Now()
	r, err := log.Update(t.Context(), "n", sessions, nil)
	if err != nil || len(r.Joined) != count {
		t.Fatalf("%d joined, %v", len(r.Joined), err)
	}
	trips := scripts() - before
	t.Logf("%d sessions: %d round trips, %v", count, trips, time.Since(start))
	if trips >= 200 {
		t.Errorf("%d round trips", trips)
	}
	seen := make(map[string]bool, count)
	last := ""
	for s, err := range log.Sessions(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[s.ID] || s.Client < last && len(s.Client) == len(last) {
			t.Fatalf("session %v comes twice, or out of order", s)
		}
		seen[s.ID], last = true, s.Client
		if !slices.Equal(s.Topics, []string{"a", "b"}) || s.NodeName != "name" {
			t.Fatalf("session %+v", s)
		}
	}
	if len(seen) != count {
		t.Errorf("%d sessions", len(seen))
	}
}
