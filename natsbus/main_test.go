package natsbus_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"
)

// TestMain fails the package when its tests, faults and all, have left a goroutine of
// the bus behind, or one of a connection that it made.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := goroutinesLeft(); code == 0 && left != "" {
		fmt.Printf("goroutines are left over:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// goroutinesLeft returns the stacks of what is left, after giving it time to end.
func goroutinesLeft() string {
	var left []byte
	for range 100 {
		left = nil
		for stack := range bytes.SplitSeq([]byte(stacks()), []byte("\n\n")) {
			if !bytes.Contains(stack, []byte("TestMain")) && (bytes.Contains(stack, []byte("sseplane/natsbus")) || bytes.Contains(stack, []byte("nats-io/nats"))) {
				left = append(append(left, stack...), "\n\n"...)
			}
		}
		if left == nil {
			break
		}
		time.Sleep(20 * time.Millisecond) // between looks
	}
	return string(left)
}
