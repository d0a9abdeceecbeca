package sse_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sseplane/sseplane/sse"
)

// stream returns about a megabyte of events with data of a size, and their number.
func stream(size int) ([]byte, int) {
	var b bytes.Buffer
	enc := sse.NewEncoder(&b)
	n := 0
	for ; b.Len() < 1<<20; n++ {
		enc.Encode(sse.StringEvent{Id: fmt.Sprintf("a1b2-%012d", n), Event: "message", Data: strings.Repeat("x", size)})
	}
	return b.Bytes(), n
}

var sizes = []int{30, 100, 1000, 10000}

func BenchmarkDecode(b *testing.B) {
	for _, size := range sizes {
		in, n := stream(size)
		b.Run(fmt.Sprintf("data=%d", size), func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				d := sse.NewDecoder(bytes.NewReader(in))
				for {
					if _, err := d.Next(); err != nil {
						break
					}
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkLineScan is the floor: it finds the lines of the same stream and does nothing with them.
func BenchmarkLineScan(b *testing.B) {
	for _, size := range sizes {
		in, _ := stream(size)
		b.Run(fmt.Sprintf("data=%d", size), func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				r := bufio.NewReaderSize(bytes.NewReader(in), 64<<10)
				for {
					if _, err := r.ReadSlice('\n'); err != nil {
						break
					}
				}
			}
		})
	}
}

// BenchmarkScanAndSplit is what a client written in an afternoon does.
func BenchmarkScanAndSplit(b *testing.B) {
	for _, size := range sizes {
		in, _ := stream(size)
		b.Run(fmt.Sprintf("data=%d", size), func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				s := bufio.NewScanner(bytes.NewReader(in))
				var m sse.Message
				for s.Scan() {
					switch name, value, _ := strings.Cut(s.Text(), ": "); name {
					case "id":
						m.ID = value
					case "event":
						m.Event = value
					case "data":
						m.Data = value
					case "":
						m = sse.Message{}
					}
				}
			}
		})
	}
}

func BenchmarkNewBlock(b *testing.B) {
	for _, size := range sizes {
		var e sse.Event = sse.StringEvent{Event: "message", Data: strings.Repeat("x", size)}
		b.Run(fmt.Sprintf("data=%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				sse.NewBlock(e)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	var e sse.Event = sse.StringEvent{Id: "a1b2-000000000001", Event: "message", Data: strings.Repeat("x", 100)}
	enc := sse.NewEncoder(io.Discard)
	b.ReportAllocs()
	for b.Loop() {
		enc.Encode(e)
	}
}

func BenchmarkValidBlock(b *testing.B) {
	for _, size := range sizes {
		block, _ := sse.NewBlock(sse.StringEvent{Event: "message", Data: strings.Repeat("x", size)})
		b.Run(fmt.Sprintf("data=%d", size), func(b *testing.B) {
			b.SetBytes(int64(len(block.Bytes)))
			b.ReportAllocs()
			for b.Loop() {
				sse.ValidBlock(block.Bytes)
			}
		})
	}
}
