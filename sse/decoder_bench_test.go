package sse_test

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sseplane/sseplane/sse"
)

// streams are about a megabyte each, of events of one shape.
var streams = []struct {
	name  string
	event func(n int) string
}{
	{"data=30", func(int) string { return "data: " + letters(30) + "\n\n" }},
	{"data=30,id,type", full(30)},
	{"data=100,id,type", full(100)},
	{"data=300,id,type", full(300)},
	{"data=1000,id,type", full(1000)},
	{"data=16K,id,type", full(16 << 10)},
	{"data=20x40,id", func(n int) string {
		return fmt.Sprintf("id: a1b2-%012d\n%s\n", n, strings.Repeat("data: "+letters(40)+"\n", 20))
	}},
	{"data=100 not ASCII,id,type", func(n int) string { return strings.Replace(full(100)(n), "xx", "é", 1) }},
	{"data=30,id,type,CRLF", func(n int) string { return strings.ReplaceAll(full(30)(n), "\n", "\r\n") }},
	{"data=30,20 types", func(n int) string { return fmt.Sprintf("event: t%d\ndata: %s\n\n", n%20, letters(30)) }},
	{"comments", func(int) string { return ": heartbeat\n\n" }},
}

func letters(n int) string { return strings.Repeat("x", n) }

func full(size int) func(n int) string {
	return func(n int) string {
		return fmt.Sprintf("id: a1b2-%012d\nevent: message\ndata: %s\n\n", n, letters(size))
	}
}

// BenchmarkDecode measures a Decoder beside two others, in turn over the same bytes, so that what disturbs the machine
// disturbs all: a raw scan, which finds the lines and does nothing with them, and what a client written in an
// afternoon does. Beside the means it reports the best rounds, which are what a quiet machine comes near to; the
// garbage collector did not run in these.
func BenchmarkDecode(b *testing.B) {
	for _, s := range streams {
		b.Run(s.name, func(b *testing.B) {
			var text strings.Builder
			events := 0
			for ; text.Len() < 1<<20; events++ {
				text.WriteString(s.event(events))
			}
			in := []byte(text.String())
			var decoding, scanning, splitting time.Duration
			bestDecoding, bestScanning := time.Hour, time.Hour
			for b.Loop() {
				start := time.Now()
				readAll(in)
				decoded := time.Now()
				scanLines(in)
				scanned := time.Now()
				decoding += decoded.Sub(start)
				scanning += scanned.Sub(decoded)
				bestDecoding, bestScanning = min(bestDecoding, decoded.Sub(start)), min(bestScanning, scanned.Sub(decoded))
			}
			for range b.N { // apart: what it leaves behind is collected in the time of others
				start := time.Now()
				scanAndSplit(in)
				splitting += time.Since(start)
			}
			speed := func(d time.Duration) float64 { return float64(len(in)) * float64(b.N) / d.Seconds() / 1e6 }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(decoding.Seconds()*1e9/float64(events*b.N), "ns/event")
			b.ReportMetric(testing.AllocsPerRun(1, func() { readAll(in) })/float64(events), "allocs/event")
			b.ReportMetric(speed(decoding), "MB/s")
			b.ReportMetric(speed(scanning), "scan-MB/s")
			b.ReportMetric(speed(splitting), "split-MB/s")
			b.ReportMetric(decoding.Seconds()/scanning.Seconds(), "x-scan")
			b.ReportMetric(decoding.Seconds()/splitting.Seconds(), "x-split")
			b.ReportMetric(float64(len(in))/bestDecoding.Seconds()/1e6, "best-MB/s")
			b.ReportMetric(bestDecoding.Seconds()/bestScanning.Seconds(), "best-x-scan")
		})
	}
}

func readAll(in []byte) {
	d := sse.NewDecoder(bytes.NewReader(in))
	for {
		if _, err := d.Next(); err != nil {
			return
		}
	}
}

func scanLines(in []byte) {
	r := bufio.NewReaderSize(bytes.NewReader(in), 64<<10)
	for {
		if _, err := r.ReadSlice('\n'); err != nil {
			return
		}
	}
}

func scanAndSplit(in []byte) {
	s := bufio.NewScanner(bytes.NewReader(in))
	var m sse.Message
	for s.Scan() {
		switch name, value, _ := strings.Cut(s.Text(), ": "); name {
		case "id":
			m.ID = value
		case "event":
			m.Event = value
		case "data":
			if m.Data != "" {
				value = m.Data + "\n" + value
			}
			m.Data = value
		case "":
			m = sse.Message{}
		}
	}
}
