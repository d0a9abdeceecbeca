package natsbus_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/natsbus/internal/natstest"
)

// The benchmarks set this package beside raw JetStream, in one run on one
// server, and report the ratio:
//
//	go test -run '^$' -bench . -benchtime 1x ./natsbus

const (
	benchData     = 200 // bytes of an event
	publishRounds = 5   // of a second each, of which the median counts
)

// callers has 64 goroutines call publish until the time is over, and returns the calls in
// a second.
func callers(publish func(i, n int) error) (float64, error) {
	const span = time.Second
	var wg sync.WaitGroup
	counts, errs := make([]int, 64), make([]error, 64)
	began := time.Now()
	for i := range counts {
		wg.Go(func() {
			for time.Since(began) < span && errs[i] == nil {
				errs[i] = publish(i, counts[i])
				counts[i]++
			}
		})
	}
	wg.Wait()
	total := 0
	for i := range counts {
		if errs[i] != nil {
			return 0, errs[i]
		}
		total += counts[i]
	}
	return float64(total) / time.Since(began).Seconds(), nil
}

// batcher publishes as a broker does: one batch at a time, of what has come
// meanwhile.
type batcher struct {
	log   backplane.Log
	calls chan call
}

type call struct {
	message backplane.Message
	done    chan error
}

func (b *batcher) run(ctx context.Context) {
	for number := uint64(1); ; number++ {
		var batch []call
		select {
		case c := <-b.calls:
			batch = append(batch, c)
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			select {
			case c := <-b.calls:
				batch = append(batch, c)
			default:
				more = false
			}
		}
		out := backplane.Batch{Producer: "bench", Number: number}
		for _, c := range batch {
			out.Messages = append(out.Messages, c.message)
		}
		_, err := b.log.Publish(ctx, out)
		for _, c := range batch {
			c.done <- err
		}
	}
}

// deployments runs a benchmark on one server, and on a cluster of three that keeps three replicas.
func deployments(b *testing.B, f func(b *testing.B, url string, replicas int)) {
	b.Run("single", func(b *testing.B) { f(b, natstest.Start(b).URL(), 1) })
	b.Run("cluster", func(b *testing.B) { f(b, natstest.StartCluster(b).URL(), 3) })
}

func rawStream(b *testing.B, url string, replicas int) (jetstream.JetStream, jetstream.Stream) {
	b.Helper()
	js := natstest.JetStream(b, url)
	stream, err := js.CreateStream(b.Context(), jetstream.StreamConfig{
		Name: fmt.Sprint("raw", time.Now().UnixNano()), Subjects: []string{fmt.Sprintf("raw.%d", time.Now().UnixNano())},
		MaxBytes: 256 << 20, Duplicates: 2 * time.Minute, AllowDirect: true, Replicas: replicas,
	})
	if err != nil {
		b.Fatal(err)
	}
	return js, stream
}

func subjectOf(s jetstream.Stream) string { return s.CachedInfo().Config.Subjects[0] }

func BenchmarkPublish(b *testing.B) { deployments(b, benchPublish) }

func benchPublish(b *testing.B, url string, replicas int) {
	for _, keyed := range []bool{false, true} {
		b.Run(fmt.Sprint("keys=", keyed), func(b *testing.B) {
			data := make([]byte, benchData)
			cfg := config()
			js, subject := natstest.JetStream(b, url), natsbus.EntrySubject(cfg.Namespace, "raw") // of the same stream, with the same followers
			l := openLog(b, url, cfg, natsbus.WithReplicas(replicas))
			batches := &batcher{log: l, calls: make(chan call, 64)}
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			running.Go(func() { batches.run(ctx) })
			bounds, err := l.Bounds(ctx)
			if err != nil {
				b.Fatal(err)
			}
			self := &counter{want: 1, done: make(chan struct{})}
			running.Go(func() { _ = l.Follow(ctx, bounds.Last, self) }) // as every node does
			defer running.Wait()
			defer cancel()
			var raw, own []float64
			for b.Loop() {
				for range publishRounds { // in turn, so that both see the same machine
					r, err := callers(func(i, n int) error {
						f, err := js.PublishAsync(subject, data, jetstream.WithMsgID(fmt.Sprintf("%d-%d-%d", len(raw), i, n)))
						if err != nil {
							return err
						}
						select {
						case <-f.Ok():
							return nil
						case err := <-f.Err():
							return err
						}
					})
					if err != nil {
						b.Fatal(err)
					}
					o, err := callers(func(i, n int) error {
						c := call{backplane.Message{Data: data}, make(chan error, 1)}
						if keyed {
							c.message.Key = fmt.Sprintf("%d-%d-%d", len(own), i, n)
						}
						batches.calls <- c
						return <-c.done
					})
					if err != nil {
						b.Fatal(err)
					}
					raw, own = append(raw, r), append(own, o)
				}
			}
			b.ReportMetric(median(raw), "raw/s")
			b.ReportMetric(median(own), "own/s")
			b.ReportMetric(median(own)/median(raw), "own/raw")
		})
	}
}

// arrivals tells when an entry came.
type arrivals struct{ came chan time.Time }

func (a *arrivals) Page(p backplane.Page) {
	now := time.Now()
	for range p.Entries {
		a.came <- now
	}
}
func (a *arrivals) Link(error) {}

func BenchmarkDelivery(b *testing.B) { deployments(b, benchDelivery) }

func benchDelivery(b *testing.B, url string, replicas int) {
	js, stream := rawStream(b, url, replicas)
	consumer, err := natstest.JetStream(b, url).OrderedConsumer(b.Context(), stream.CachedInfo().Config.Name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	rawCame := make(chan time.Time, 1)
	consuming, err := consumer.Consume(func(jetstream.Msg) { rawCame <- time.Now() })
	if err != nil {
		b.Fatal(err)
	}
	defer consuming.Stop()

	cfg := config()
	from, to := openLog(b, url, cfg, natsbus.WithReplicas(replicas)), openLog(b, url, cfg, natsbus.WithReplicas(replicas))
	bounds, err := from.Bounds(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	own := &arrivals{make(chan time.Time, 1)}
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = to.Follow(ctx, bounds.Last, own) })
	self := &node{name: "from", changed: make(chan struct{}), upto: bounds.Last}
	running.Go(func() { _ = from.Follow(ctx, bounds.Last, self) }) // as every node does
	self.wait(b, "it is linked", func() bool { return self.told })
	defer running.Wait()
	defer cancel()

	data := make([]byte, benchData)
	const rounds = 3000
	var rawTook, ownTook []time.Duration
	for b.Loop() {
		for i := range rounds { // in turn, so that both see the same machine
			began := time.Now()
			if _, err := js.PublishAsync(subjectOf(stream), data); err != nil {
				b.Fatal(err)
			}
			rawTook = append(rawTook, (<-rawCame).Sub(began))
			began = time.Now()
			if _, err := from.Publish(b.Context(), batch("bench", uint64(i+1), string(data))); err != nil {
				b.Fatal(err)
			}
			ownTook = append(ownTook, (<-own.came).Sub(began))
		}
	}
	raw, mine := median(rawTook), median(ownTook)
	b.ReportMetric(float64(raw.Microseconds()), "raw-µs")
	b.ReportMetric(float64(mine.Microseconds()), "own-µs")
	b.ReportMetric(float64(mine)/float64(raw), "own/raw")
}

func median[T cmp.Ordered](of []T) T {
	slices.Sort(of)
	return of[len(of)/2]
}

func BenchmarkBacklog(b *testing.B) { deployments(b, benchBacklog) }

func benchBacklog(b *testing.B, url string, replicas int) {
	const events = 100_000
	for _, size := range []int{1, 64} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			js, stream := rawStream(b, url, replicas)
			data := make([]byte, benchData)
			var last jetstream.PubAckFuture
			for range events {
				f, err := js.PublishAsync(subjectOf(stream), data, jetstream.WithStallWait(5*time.Second))
				if err != nil {
					b.Fatal(err)
				}
				last = f
			}
			<-last.Ok()
			l := openLog(b, url, config(), natsbus.WithReplicas(replicas))
			bounds, err := l.Bounds(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			var producers sync.WaitGroup
			errs := make([]error, 50)
			for p := range errs {
				producers.Go(func() {
					out := make([]string, size)
					for i := range out {
						out[i] = string(data)
					}
					for n := range events / len(errs) / size {
						if _, errs[p] = l.Publish(b.Context(), batch(fmt.Sprint(p), uint64(n+1), out...)); errs[p] != nil {
							return
						}
					}
				})
			}
			producers.Wait()
			for _, err := range errs {
				if err != nil {
					b.Fatal(err)
				}
			}
			total := events / len(errs) / size * size * len(errs)

			var rawTook, ownTook []time.Duration
			for range 5 {
				consumer, err := natstest.JetStream(b, url).OrderedConsumer(b.Context(), stream.CachedInfo().Config.Name, jetstream.OrderedConsumerConfig{})
				if err != nil {
					b.Fatal(err)
				}
				done := make(chan struct{})
				n := 0
				began := time.Now()
				consuming, err := consumer.Consume(func(jetstream.Msg) {
					if n++; n == total {
						close(done)
					}
				})
				if err != nil {
					b.Fatal(err)
				}
				<-done
				rawTook = append(rawTook, time.Since(began))
				consuming.Stop()

				own := &counter{want: total, done: make(chan struct{})}
				ctx, cancel := context.WithCancel(b.Context())
				began = time.Now()
				var running sync.WaitGroup
				running.Go(func() { _ = l.Follow(ctx, bounds.Last, own) })
				<-own.done
				ownTook = append(ownTook, time.Since(began))
				cancel()
				running.Wait()
			}
			for b.Loop() {
			}
			raw, mine := float64(total)/median(rawTook).Seconds(), float64(total)/median(ownTook).Seconds()
			b.ReportMetric(raw, "raw/s")
			b.ReportMetric(mine, "own/s")
			b.ReportMetric(mine/raw, "own/raw")
		})
	}
}

type counter struct {
	n, want int
	done    chan struct{}
}

func (c *counter) Page(p backplane.Page) {
	before := c.n
	c.n += len(p.Entries)
	if before < c.want && c.n >= c.want {
		close(c.done)
	}
}
func (c *counter) Link(error) {}
