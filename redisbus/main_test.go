package redisbus_test

import (
	"os"
	"testing"

	"github.com/sseplane/sseplane/redisbus/internal/redistest"
)

func TestMain(m *testing.M) {
	redistest.Quiet()
	os.Exit(m.Run())
}
