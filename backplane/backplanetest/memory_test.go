package backplanetest_test

import (
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
)

func TestMemory(t *testing.T) {
	bus := backplane.NewMemory()
	backplanetest.Run(t, backplanetest.Harness{
		New:   func(testing.TB) backplane.Backplane { return bus },
		Tick:  100 * time.Millisecond,
		Short: testing.Short(),
	})
}

// TestMemoryInBubble proves that a Memory works under synctest, and that no
// goroutine outlives its logs: each check's bubble would not end. This one
// has the oddities of other buses.
func TestMemoryInBubble(t *testing.T) {
	bus := backplane.NewMemory(backplane.WithTags(), backplane.WithHoles(), backplane.WithSeed(1))
	backplanetest.Run(t, backplanetest.Harness{
		New:    func(testing.TB) backplane.Backplane { return bus },
		Tick:   time.Second,
		Short:  true,
		Bubble: true,
	})
}
