package sse_test

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
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

// BenchmarkDecode measures a Decoder beside two raw scans, which find the lines and do nothing with them, in turn over
// the same bytes, so that what disturbs the machine disturbs all; and then beside what a client written in an
// afternoon does, apart, because what that leaves behind is collected in the time of others. It reports the medians of
// the rounds, and of a Decoder the mean, which has in it what else the machine does.
func BenchmarkDecode(b *testing.B) {
	for _, s := range streams {
		b.Run(s.name, func(b *testing.B) {
			var text strings.Builder
			events := 0
			for ; text.Len() < 1<<20; events++ {
				text.WriteString(s.event(events))
			}
			in := []byte(text.String())
			var decoding, scanning, slicing, splitting rounds
			for b.Loop() {
				decoding.time(readAll, in)
				scanning.time(scanLines, in)
				slicing.time(sliceLines, in)
			}
			for range b.N {
				splitting.time(scanAndSplit, in)
			}
			speed := func(d time.Duration) float64 { return float64(len(in)) / d.Seconds() / 1e6 }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(testing.AllocsPerRun(1, func() { readAll(in) })/float64(events), "allocs/event")
			b.ReportMetric(speed(decoding.median()), "MB/s")
			b.ReportMetric(speed(scanning.median()), "scan-MB/s")
			b.ReportMetric(speed(splitting.median()), "split-MB/s")
			b.ReportMetric(decoding.median().Seconds()/scanning.median().Seconds(), "x-scan")
			b.ReportMetric(decoding.median().Seconds()/slicing.median().Seconds(), "x-slice")
			b.ReportMetric(speed(decoding.mean()), "mean-MB/s")
		})
	}
}

// rounds is how long each round took.
type rounds []time.Duration

func (r *rounds) time(f func([]byte), in []byte) {
	start := time.Now()
	f(in)
	*r = append(*r, time.Since(start))
}

func (r rounds) median() time.Duration {
	sorted := slices.Sorted(slices.Values(r))
	return sorted[len(sorted)/2]
}

func (r rounds) mean() time.Duration {
	var sum time.Duration
	for _, d := range r {
		sum += d
	}
	return sum / time.Duration(len(r))
}

func readAll(in []byte) {
	d := sse.NewDecoder(bytes.NewReader(in))
	for {
		if _, err := d.Next(); err != nil {
			return
		}
	}
}

// scanLines is the scan that everybody writes.
func scanLines(in []byte) {
	s := bufio.NewScanner(bytes.NewReader(in))
	for s.Scan() {
	}
}

// sliceLines is the fastest one that the standard library has.
func sliceLines(in []byte) {
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
