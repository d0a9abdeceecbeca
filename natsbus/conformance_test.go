package natsbus_test

import (
	"testing"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/backplane/backplanetest"
	"github.com/sseplane/sseplane/natsbus"
	"github.com/sseplane/sseplane/natsbus/internal/natstest"
)

func TestConformance(t *testing.T) {
	s := natstest.Start(t)
	backplanetest.Run(t, backplanetest.Harness{
		New: func(t testing.TB) backplane.Backplane {
			bus, err := natsbus.New(natstest.Connect(t, s.URL()))
			if err != nil {
				t.Fatal(err)
			}
			return bus
		},
		MaxData:  1<<20 - 1<<10,
		TooLarge: 2 << 20,
	})
}
