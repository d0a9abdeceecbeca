package backplane

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// BenchmarkMemoryPublish publishes batches of entries of 200 bytes.
func BenchmarkMemoryPublish(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			l := openMemory(b, NewMemory(), testConfig("n"))
			batch := Batch{Producer: "p"}
			for range size {
				batch.Messages = append(batch.Messages, Message{Data: make([]byte, 200)})
			}
			b.ReportAllocs()
			for b.Loop() {
				batch.Number++
				if _, err := l.Publish(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/entry")
		})
	}
}

// counter is a follower that counts entries.
type counter struct {
	got  int
	want int
	done chan struct{}
}

func (*counter) Link(error) {}

func (c *counter) Page(p Page) {
	if c.got += len(p.Entries); c.got == c.want {
		close(c.done)
	}
}

// BenchmarkMemoryFollow delivers each entry, published in batches of 100, to all
// followers.
func BenchmarkMemoryFollow(b *testing.B) {
	for _, followers := range []int{1, 10} {
		b.Run(fmt.Sprint("followers=", followers), func(b *testing.B) {
			l := openMemory(b, NewMemory(), testConfig("n"))
			batch := Batch{Producer: "p", Messages: make([]Message, 100)}
			for i := range batch.Messages {
				batch.Messages[i].Data = make([]byte, 200)
			}
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			start := mustBounds(b, l).Last
			counters := make([]*counter, followers)
			var wg sync.WaitGroup
			for i := range counters {
				c := &counter{want: 100 * b.N, done: make(chan struct{})}
				counters[i] = c
				wg.Go(func() {
					if err := l.Follow(ctx, start, c); !errors.Is(err, context.Canceled) {
						b.Error(err)
					}
				})
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				batch.Number++
				if _, err := l.Publish(ctx, batch); err != nil {
					b.Fatal(err)
				}
			}
			for _, c := range counters {
				<-c.done
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100*followers), "ns/delivery")
			b.StopTimer()
			cancel()
			wg.Wait()
		})
	}
}

// BenchmarkMemorySessions lists 10 000 sessions.
func BenchmarkMemorySessions(b *testing.B) {
	l := openMemory(b, NewMemory(), testConfig("n"))
	sessions := make([]Session, 10_000)
	for i := range sessions {
		sessions[i] = Session{ID: fmt.Sprint("s", i), Client: fmt.Sprint("c", i), Node: "n", Topics: []string{"t"}}
	}
	if err := l.Renew(b.Context(), "n", 1<<40); err != nil {
		b.Fatal(err)
	}
	if _, err := l.Update(b.Context(), "n", sessions, nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n := 0
		for range l.Sessions(b.Context()) {
			n++
		}
		if n != len(sessions) {
			b.Fatalf("%d sessions", n)
		}
	}
}
