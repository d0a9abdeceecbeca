package chaos

import (
	"fmt"
	"strings"
	"testing"
)

// TestChecker shows the checker histories that break the rules, and some that do not.
func TestChecker(t *testing.T) {
	got := func(n int, at int) Record {
		return Record{Kind: Received, Client: "joe", Topic: "news", N: n, Position: fmt.Sprintf("~1.%d", at)}
	}
	reset := Record{Kind: WasReset, Client: "joe", Note: `{"reason":"history"}`}
	accepted := func(n, at int) Record {
		return Record{Kind: Published, Topic: "news", N: n, Position: fmt.Sprintf("~1.%d", at)}
	}
	for name, c := range map[string]struct {
		history []Record
		resets  bool
		want    []string
	}{
		"all is well":          {history: []Record{accepted(1, 10), got(1, 10), got(2, 20), got(3, 30)}},
		"duplicate":            {history: []Record{got(1, 10), got(2, 20), got(2, 25), got(3, 30)}, want: []string{Duplicate}},
		"duplicate, same id":   {history: []Record{got(1, 10), got(2, 20), got(2, 20), got(3, 30)}, want: []string{Duplicate, Unordered}},
		"disorder":             {history: []Record{got(2, 20), got(1, 10), got(3, 30)}, want: []string{Gap, Duplicate, Unordered}},
		"gap":                  {history: []Record{got(1, 10), got(3, 30)}, want: []string{Gap}},
		"nothing at first":     {history: []Record{got(3, 30)}, want: []string{Gap}},
		"the end is missing":   {history: []Record{got(1, 10), got(2, 20)}, want: []string{Incomplete}},
		"never published":      {history: []Record{got(1, 10), got(2, 20), got(3, 30), got(4, 40)}, want: []string{Foreign}},
		"another position":     {history: []Record{accepted(2, 21), got(1, 10), got(2, 20), got(3, 30)}, want: []string{Misplaced}},
		"announced gap":        {history: []Record{got(1, 10), reset, got(3, 30)}, resets: true},
		"gap after that":       {history: []Record{reset, got(1, 10), got(3, 30)}, resets: true, want: []string{Gap}},
		"announced later":      {history: []Record{got(1, 10), got(3, 30), reset}, resets: true},
		"announced at the end": {history: []Record{got(1, 10), reset}, resets: true},
		"needless reset":       {history: []Record{got(1, 10), got(2, 20), reset, got(3, 30)}, want: []string{Needless}},
		"not asked for": {
			history: []Record{got(1, 10), got(2, 20), got(3, 30), {Kind: Received, Client: "joe", Topic: "other", N: 1, Position: "~1.40"}},
			want:    []string{Foreign},
		},
	} {
		t.Run(name, func(t *testing.T) {
			violations := Check(c.history, Rules{
				Topics: map[string][]string{"joe": {"news"}}, Last: map[string]int{"news": 3, "other": 1}, Resets: c.resets,
			})
			var rules []string
			for _, v := range violations {
				rules = append(rules, v.Rule)
				if text := Explain(c.history, v); !strings.Contains(text, v.Rule) {
					t.Errorf("the explanation does not say what is wrong: %s", text)
				}
			}
			if fmt.Sprint(rules) != fmt.Sprint(c.want) {
				t.Errorf("got %q, want %q", rules, c.want)
			}
		})
	}
}

// TestReports does the same with reports of sessions that have ended.
func TestReports(t *testing.T) {
	ended := func(session string, node string, at float64) Record {
		return Record{Kind: Ended, Session: session, Node: node, At: at}
	}
	cut := Record{Kind: Fault, Node: "a", At: 10, Note: "cut off from the bus for 1s"}
	killed := Record{Kind: Fault, Node: "a", At: 10, Note: "killed for 1s"}
	failover := Record{Kind: Fault, Node: "bus", At: 10, Note: "failover"}
	healedAt := func(at float64) Record {
		return Record{Kind: Fault, Node: "bus", At: at, Note: "failover" + healed}
	}
	opened := func(session string, at float64) Record { return Record{Kind: Opened, Session: session, At: at} }
	served := Record{Kind: Served, Session: "2", Node: "a"}
	back := Record{Kind: Fault, Node: "a", At: 12, Note: cut.Note + healed}
	dies := func(at float64) Record { return Record{Kind: Fault, Node: "a", At: at, Note: killed.Note} }
	for name, c := range map[string]struct {
		history []Record
		forgets bool
		want    string
	}{
		"all is well":           {history: []Record{ended("1", "a", 1), ended("2", "b", 2)}},
		"registration lost":     {history: []Record{ended("1", "a", 1), failover, opened("2", 11), healedAt(12)}, forgets: true},
		"registered before":     {history: []Record{ended("1", "a", 1), opened("2", 5), failover, healedAt(12)}, forgets: true, want: "session 2 of joe"},
		"the bus keeps all":     {history: []Record{ended("1", "a", 1), failover, opened("2", 11), healedAt(12)}, want: "session 2 of joe"},
		"nobody heard of it":    {history: []Record{ended("1", "a", 1), cut, opened("2", 11), served, back, dies(13)}},
		"it could be told":      {history: []Record{ended("1", "a", 1), cut, opened("2", 11), served, back, dies(15)}, want: "session 2 of joe"},
		"it came before":        {history: []Record{ended("1", "a", 1), opened("2", 9), served, cut, back, dies(13)}, want: "session 2 of joe"},
		"one is missing":        {history: []Record{ended("1", "a", 1)}, want: "session 2 of joe has ended, and nobody said so"},
		"twice":                 {history: []Record{ended("1", "a", 1), ended("2", "a", 1), ended("1", "b", 2)}, want: "session 1 was reported 2 times"},
		"twice, died inside":    {history: []Record{ended("1", "a", 9.9), ended("2", "a", 1), killed, ended("1", "b", 20)}},
		"twice, cut off":        {history: []Record{ended("1", "a", 9.9), ended("2", "a", 1), cut, ended("1", "b", 20)}},
		"twice, the same one":   {history: []Record{ended("1", "a", 9.9), ended("2", "a", 1), cut, ended("1", "a", 20)}, want: "session 1 was reported 2 times"},
		"twice, long after":     {history: []Record{ended("1", "a", 5), ended("2", "a", 1), cut, ended("1", "b", 20)}, want: "session 1 was reported 2 times"},
		"twice, died elsewhere": {history: []Record{ended("1", "b", 9.9), ended("2", "a", 1), killed, ended("1", "c", 20)}, want: "session 1 was reported 2 times"},
	} {
		t.Run(name, func(t *testing.T) {
			problems := CheckReports(c.history, map[string]string{"1": "joe", "2": "joe"}, c.forgets)
			if got := strings.Join(problems, "; "); !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
