package middleware

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain lets more tests run at once than there are processors, because most of
// the time they wait, and fails the package when one has left a goroutine behind.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "24"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if left := leftGoroutines(patience); left != "" && code == 0 {
		fmt.Fprintf(os.Stderr, "goroutines left after all tests:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// leftGoroutines returns the stacks of goroutines that serve this project or a socket,
// as soon as there are none, or after the given time.
func leftGoroutines(within time.Duration) string {
	for end := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
		left := suspects()
		if left == "" || time.Now().After(end) {
			return left
		}
	}
}

func suspects() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for _, stack := range strings.Split(string(buf), "\n\n") {
		switch {
		case strings.Contains(stack, "middleware.suspects("): // this one
		case strings.Contains(stack, "sseplane/sseplane/"), strings.Contains(stack, "net/http."):
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}
