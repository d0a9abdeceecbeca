package dock

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/moby/moby/client"
)

// Program makes an image of one static program, which lives as long as the test.
func Program(t testing.TB, path string) (image string) {
	t.Helper()
	e := Require(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	for _, err := range []error{
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "program", Mode: 0o755, Size: int64(len(text))}),
		second(w.Write(text)),
		w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), engineTime)
	defer cancel()
	image = fmt.Sprintf("%s%d:latest", imagePrefix, os.Getpid())
	answer, err := e.ImageImport(ctx, client.ImageImportSource{Source: &files, SourceName: "-"}, image,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/program"]`}})
	if err != nil {
		t.Fatalf("making an image: %v", err)
	}
	defer answer.Close()
	if _, err := io.Copy(io.Discard, answer); err != nil { // it is done at the end of the answer
		t.Fatalf("making an image: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), engineTime)
		defer cancel()
		if _, err := e.ImageRemove(ctx, image, client.ImageRemoveOptions{Force: true}); err != nil {
			t.Logf("removing an image: %v", err)
		}
	})
	return image
}

func second(_ int, err error) error { return err }
