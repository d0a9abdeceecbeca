package redisbus_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/sseplane/sseplane/redisbus/internal/redistest"
)

// parallel is how many tests run at a time, at least: most of them wait.
const parallel = "10"

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set(parallel)
	}
	redistest.Quiet()
	code := m.Run()
	if code == 0 {
		if left := goroutinesLeft(); left != "" {
			fmt.Printf("goroutines are left over:\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// goroutinesLeft returns the stacks of goroutines that the bus, or a client that it
// made, has left behind, after giving them time to end.
func goroutinesLeft() string {
	var left []byte
	for range 100 {
		stacks := make([]byte, 4<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		left = nil
		for stack := range bytes.SplitSeq(stacks, []byte("\n\n")) {
			if bytes.Contains(stack, []byte("TestMain")) || bytes.Contains(stack, []byte("goroutinesLeft")) {
				continue
			}
			if bytes.Contains(stack, []byte("sseplane/redisbus")) || bytes.Contains(stack, []byte("go-redis")) {
				left = append(append(left, stack...), "\n\n"...)
			}
		}
		if left == nil {
			return ""
		}
		time.Sleep(20 * time.Millisecond) // between looks
	}
	return string(left)
}
