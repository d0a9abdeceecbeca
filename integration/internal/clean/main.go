// Command clean removes the containers, networks, volumes and images that integration
// tests have left behind because they were cut short. What belongs to a run that still
// goes on is left alone.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/sseplane/sseplane/integration/internal/dock"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := dock.Sweep(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "clean:", err)
		os.Exit(1)
	}
}
