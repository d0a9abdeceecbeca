package client_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

// BenchmarkStream measures the whole way from the body of an answer to the caller's loop, channel or callback. The
// format alone is measured in package sse, beside a raw scan for lines.
func BenchmarkStream(b *testing.B) {
	const size, batch = 100, 10000
	block, err := sse.NewBlock(sse.StringEvent{Event: "message", Data: strings.Repeat("x", size)})
	if err != nil {
		b.Fatal(err)
	}
	var in strings.Builder
	for i := range batch {
		in.Write(sse.AppendID(nil, fmt.Sprintf("a1b2-%012d", i)))
		in.Write(block.Bytes)
	}
	readers := map[string]func(s *client.Stream){
		"iterator": func(s *client.Stream) {
			for range s.Events() {
			}
		},
		"channel": func(s *client.Stream) {
			sub, err := s.Subscribe("")
			if err != nil {
				b.Fatal(err)
			}
			for n := 0; n < batch; n++ {
				<-sub.Feed()
			}
		},
		"callback": func(s *client.Stream) {
			s.Handle("", func(sse.Event) {})
			<-s.Done()
		},
	}
	for name, read := range readers {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(in.Len()))
			b.ReportAllocs()
			for b.Loop() {
				// The connection is the first answer; 404 ends the stream behind it.
				n := 0
				s, err := client.Open(b.Context(), address, client.WithRetry(1), client.WithHTTPClient(&http.Client{
					Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
						answer := text(in.String() + "id: " + strings.Repeat("x", 1<<10) + "\n")
						if n++; n > 1 {
							answer = status(404)
						}
						resp, err := answer(r)
						resp.Request = r
						return resp, err
					})}), client.WithLimits(1000, 1000))
				if err != nil {
					b.Fatal(err)
				}
				read(s)
				s.Close()
			}
			b.ReportMetric(batch*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
