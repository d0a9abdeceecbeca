package broker_test

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the package when a test has left a goroutine behind. Inside a
// synctest bubble that is a deadlock already; this is for the tests with sockets.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leftGoroutines(10 * time.Second); left != "" && code == 0 {
		fmt.Fprintf(os.Stderr, "goroutines left after all tests:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// checkLeaks fails the test if it leaves goroutines behind. It is for tests that do not
// run in a bubble and not in parallel. Cleanups registered after it run before it looks.
func checkLeaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if left := leftGoroutines(10 * time.Second); left != "" {
			t.Errorf("goroutines left:\n%s", left)
		}
	})
}

// leftGoroutines returns the stacks of goroutines that serve this module or a socket,
// as soon as there are none, or after the given time.
func leftGoroutines(patience time.Duration) string {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
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
		case strings.Contains(stack, "broker_test.suspects("): // this one
		case strings.Contains(stack, "testing.(*T).Run("), strings.Contains(stack, "testing.(*M).Run("):
		case strings.Contains(stack, "sseplane/sseplane/"), strings.Contains(stack, "net/http."):
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}
