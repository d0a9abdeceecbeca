package backplane

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the package when a test has left a goroutine of it behind.
func TestMain(m *testing.M) {
	code := m.Run()
	left := goroutines()
	for end := time.Now().Add(10 * time.Second); left != "" && time.Now().Before(end); left = goroutines() {
		time.Sleep(5 * time.Millisecond)
	}
	if left != "" && code == 0 {
		fmt.Fprintf(os.Stderr, "goroutines left after all tests:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// goroutines returns the stacks of all other goroutines that run code of this module.
func goroutines() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for i, stack := range strings.Split(string(buf), "\n\n") {
		if i > 0 && strings.Contains(stack, "sseplane/sseplane/") {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}
