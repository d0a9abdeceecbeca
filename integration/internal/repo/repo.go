// Package repo finds its way around the checkout.
package repo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Path returns the path of a file or folder of the checkout.
func Path(t testing.TB, elements ...string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "docker-compose.yml")); err == nil {
			return filepath.Join(append([]string{dir}, elements...)...)
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the tests do not run inside a checkout")
		}
		dir = filepath.Dir(dir)
	}
}

// Read returns the text of a file of the checkout.
func Read(t testing.TB, elements ...string) string {
	t.Helper()
	text, err := os.ReadFile(Path(t, elements...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Build builds a program of the checkout, static, and returns its path.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if err := Run(t.Context(), Path(t), []string{"CGO_ENABLED=0", "GOWORK=off"}, "go", "build", "-trimpath", "-ldflags=-s", "-buildvcs=false", "-o", out, pkg); err != nil {
		t.Fatal(err)
	}
	return out
}

// Run runs a command in a folder, with environment variables besides this process's own.
// Its error has what the command has written.
func Run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = dir
	command.Env = append(os.Environ(), env...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w\n%s", name, args, err, out)
	}
	return nil
}

// Artifact returns a path under integration/artifacts, which is made.
func Artifact(t testing.TB, name string) string {
	t.Helper()
	path := Path(t, "integration", "artifacts", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
