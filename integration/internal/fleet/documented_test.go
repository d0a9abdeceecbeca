package fleet

import (
	"strings"
	"testing"

	"github.com/sseplane/sseplane/integration/internal/repo"
)

// shown returns the first block of a kind that docs/DEPLOYING.md shows behind a text.
func shown(t *testing.T, behind, kind string) string {
	t.Helper()
	_, text, ok := strings.Cut(repo.Read(t, "docs", "DEPLOYING.md"), behind)
	if !ok {
		t.Fatalf("docs/DEPLOYING.md does not say %q", behind)
	}
	_, text, _ = strings.Cut(text, "```"+kind+"\n")
	block, _, ok := strings.Cut(text, "```\n")
	if !ok {
		t.Fatalf("docs/DEPLOYING.md shows no %s behind %q", kind, behind)
	}
	return block
}

// replace replaces what must be there: pairs of old and new.
func replace(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not part of\n%s", pairs[i], text)
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// TestDocumented: the documentation shows the configuration of nginx that is tested.
func TestDocumented(t *testing.T) {
	tested := directives(repo.Read(t, "deploy", "nginx", "sse.conf"))
	if shown := shown(t, "deploy/nginx/sse.conf", "nginx"); shown != tested {
		t.Errorf("docs/DEPLOYING.md shows\n%s\nbut this is tested:\n%s", shown, tested)
	}
}

// directives returns a configuration without comments and empty lines.
func directives(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if line := strings.TrimSpace(line); line != "" && line[0] != '#' {
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}
