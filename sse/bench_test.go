package sse_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sseplane/sseplane/sse"
)

var sizes = []int{30, 100, 1000, 10000}

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
