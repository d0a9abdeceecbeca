package redisbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/redisbus/internal/redistest"
)

// The benchmarks measure the bus and the raw commands that it stands on in
// turns, in one run, and report how they compare.

func benchLog(b *testing.B) (backplane.Log, *redis.Client) {
	b.Helper()
	server := redistest.Start(b, "redis-7.0")
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	b.Cleanup(func() { _ = client.Close() })
	bus, err := New(client)
	if err != nil {
		b.Fatal(err)
	}
	l, err := bus.Open(b.Context(), backplane.Config{
		Namespace: "bench", RetentionAge: 10 * time.Minute, RetentionBytes: 64 << 20,
		IdempotencyWindow: 2 * time.Minute, ResumeGrace: time.Minute,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close(context.Background()) })
	return l, client
}

func benchBatch(number uint64, n, size int) backplane.Batch {
	batch := backplane.Batch{Producer: "p", Number: number, Messages: make([]backplane.Message, n)}
	for i := range batch.Messages {
		batch.Messages[i].Data = make([]byte, size)
	}
	return batch
}

// BenchmarkPublishBatch: what 64 waiting callers get through one batch at a time, beside
// pipelines of as many XADD, one at a time.
func BenchmarkPublishBatch(b *testing.B) {
	const n = 64
	l, c := benchLog(b)
	var ours, raw, trimmed time.Duration
	number := uint64(0)
	xadd := func(key string, args ...any) time.Duration {
		data := make([]byte, 100)
		start := time.Now()
		p := c.Pipeline()
		for range n {
			p.Do(b.Context(), append(append([]any{"xadd", key}, args...), "*", "d", data)...)
		}
		if _, err := p.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	for b.Loop() {
		number++
		batch := benchBatch(number, n, 100)
		start := time.Now()
		if _, err := l.Publish(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)
		raw += xadd("raw")
		trimmed += xadd("trimmed", "maxlen", "~", 400_000)
	}
	rate := func(d time.Duration) float64 { return n * float64(number) / d.Seconds() }
	b.ReportMetric(rate(ours), "published/s")
	b.ReportMetric(rate(raw), "xadd/s")
	b.ReportMetric(raw.Seconds()/ours.Seconds(), "of-xadd")
	b.ReportMetric(trimmed.Seconds()/ours.Seconds(), "of-xadd-maxlen")
}

// BenchmarkPublishOne: a lone publish beside one EVALSHA of the same script.
func BenchmarkPublishOne(b *testing.B) {
	l, c := benchLog(b)
	var ours, raw []time.Duration
	number := uint64(0)
	for b.Loop() {
		number++
		start := time.Now()
		if _, err := l.Publish(b.Context(), benchBatch(number, 1, 100)); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, time.Since(start))
		batch := benchBatch(number, 1, 100)
		batch.Producer = "raw"
		args := l.(*log).publishArgs(batch, 100)
		keys := l.(*log).keys.ofPublish()
		start = time.Now()
		if err := c.EvalSha(b.Context(), publishScript.sha, keys, args...).Err(); err != nil {
			b.Fatal(err)
		}
		raw = append(raw, time.Since(start))
	}
	b.ReportMetric(float64(median(ours).Microseconds()), "us/publish")
	b.ReportMetric(float64(median(raw).Microseconds()), "us/evalsha")
	b.ReportMetric(median(ours).Seconds()/median(raw).Seconds(), "times-evalsha")
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// sink counts what it gets.
type sink struct {
	want int
	done chan struct{}
}

func (s *sink) Page(p backplane.Page) {
	if s.want -= len(p.Entries); s.want <= 0 {
		close(s.done)
		s.want = 1 << 62
	}
}

func (s *sink) Link(error) {}

// BenchmarkBacklog: a follower that is 100,000 entries of 300 bytes behind, published one
// by one or in batches, beside a loop of XRANGE over as many elements of that size.
func BenchmarkBacklog(b *testing.B) {
	for _, size := range []int{1, 50} {
		b.Run(fmt.Sprintf("batches of %d", size), func(b *testing.B) { benchBacklog(b, size) })
	}
}

func benchBacklog(b *testing.B, batch int) {
	const n = 100_000
	l, c := benchLog(b)
	bounds, err := l.Bounds(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for i := range n / batch {
		if _, err := l.Publish(b.Context(), benchBatch(uint64(i+1), batch, 300)); err != nil {
			b.Fatal(err)
		}
	}
	data := make([]byte, 300)
	for range n / 1000 {
		p := c.Pipeline()
		for range 1000 {
			p.Do(b.Context(), "xadd", "raw", "*", "d", data)
		}
		if _, err := p.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	var ours, raw time.Duration
	for b.Loop() {
		s := &sink{want: n, done: make(chan struct{})}
		ctx, stop := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		start := time.Now()
		go func() { ended <- l.Follow(ctx, bounds.Last, s) }()
		<-s.done
		ours += time.Since(start)
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			b.Fatal(err)
		}
		start = time.Now()
		from, got := "-", 0
		for {
			page, err := c.XRangeN(b.Context(), "raw", from, "+", 1000).Result()
			if err != nil {
				b.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			got += len(page)
			from = "(" + page[len(page)-1].ID
		}
		if got != n {
			b.Fatal(got)
		}
		raw += time.Since(start)
	}
	b.ReportMetric(n*float64(b.N)/ours.Seconds(), "followed/s")
	b.ReportMetric(n*float64(b.N)/raw.Seconds(), "xrange/s")
	b.ReportMetric(raw.Seconds()/ours.Seconds(), "of-xrange")
}

// arrivals tells when entries come.
type arrivals chan time.Time

func (a arrivals) Page(p backplane.Page) {
	for range p.Entries {
		a <- time.Now()
	}
}

func (a arrivals) Link(error) {}

// BenchmarkDelivery: from one node to another's follower, beside XADD to XREAD.
func BenchmarkDelivery(b *testing.B) {
	l, c := benchLog(b)
	ctx, stop := context.WithCancel(b.Context())
	bounds, err := l.Bounds(ctx)
	if err != nil {
		b.Fatal(err)
	}
	got := make(arrivals, 1000)
	ended := make(chan error, 2)
	go func() { ended <- l.Follow(ctx, bounds.Last, got) }()
	raw := make(chan time.Time, 1000)
	go func() {
		own := redis.NewClient(c.Options())
		defer own.Close()
		last := "0-0"
		for ctx.Err() == nil {
			streams, err := own.XRead(ctx, &redis.XReadArgs{Streams: []string{"raw"}, ID: last, Count: 1000, Block: 100 * time.Millisecond}).Result()
			if err == nil {
				for _, m := range streams[0].Messages {
					last = m.ID
					raw <- time.Now()
				}
			}
		}
		ended <- nil
	}()
	var ours, theirs []time.Duration
	number := uint64(0)
	data := make([]byte, 100)
	for b.Loop() {
		number++
		start := time.Now()
		if _, err := l.Publish(ctx, benchBatch(number, 1, 100)); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, (<-got).Sub(start))
		start = time.Now()
		if err := c.Do(ctx, "xadd", "raw", "*", "d", data).Err(); err != nil {
			b.Fatal(err)
		}
		theirs = append(theirs, (<-raw).Sub(start))
	}
	stop()
	<-ended
	<-ended
	b.ReportMetric(float64(median(ours).Microseconds()), "us/delivery")
	b.ReportMetric(float64(median(theirs).Microseconds()), "us/xadd-xread")
	b.ReportMetric(median(ours).Seconds()/median(theirs).Seconds(), "times-xread")
}

// BenchmarkSessions: 10,000 sessions that connect at once.
func BenchmarkSessions(b *testing.B) {
	l, _ := benchLog(b)
	round := 0
	for b.Loop() {
		round++
		node := fmt.Sprint("n", round)
		sessions := make([]backplane.Session, 10_000)
		for i := range sessions {
			sessions[i] = backplane.Session{ID: fmt.Sprint(node, "/", i), Client: fmt.Sprint("c", i), Node: node}
		}
		if _, err := l.Update(b.Context(), node, sessions, nil); err != nil {
			b.Fatal(err)
		}
	}
}
