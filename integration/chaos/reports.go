package chaos

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sseplane/sseplane/integration/internal/fleet"
)

// reportLine is what a replica writes when it is told that a session has ended. What it
// has written outlives it.
var reportLine = regexp.MustCompile(`^time=(\S+) .*msg=disconnected .*session=(\S+)`)

// readReports reads from the logs of the replicas which sessions have ended.
func readReports(f *fleet.Fleet, h *History) ([]Record, error) {
	var reports []Record
	for _, r := range f.Replicas {
		text, err := r.Logs()
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			m := reportLine.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			at, err := time.Parse(time.RFC3339Nano, m[1])
			if err != nil {
				return nil, err
			}
			reports = append(reports, Record{At: h.since(at), Kind: Ended, Node: r.Name, Session: m[2]})
		}
	}
	return reports, nil
}

// CheckReports returns what is wrong with the reports of sessions that have ended: each
// of the sessions, which are given with their clients, is reported exactly once, and no
// session twice. A replica that is killed inside its callback may cause a second report.
func CheckReports(history []Record, sessions map[string]string) (problems []string) {
	reports := map[string][]Record{}
	for _, r := range history {
		if r.Kind == Ended {
			reports[r.Session] = append(reports[r.Session], r)
		}
	}
	for session, client := range sessions {
		if len(reports[session]) == 0 {
			problems = append(problems, fmt.Sprintf("session %s of %s has ended, and nobody said so", session, client))
		}
	}
	for session, all := range reports {
		if len(all) > 1 && !diedInside(history, all) {
			problems = append(problems, fmt.Sprintf("session %s was reported %d times: %v", session, len(all), all))
		}
	}
	slices.Sort(problems)
	return problems
}

// settleTime is how long a replica may need to have noted that its callback has returned.
const settleTime = 2.0

// diedInside reports whether all reporters but one were killed so soon after it that they
// may not have been able to note it.
func diedInside(history []Record, reports []Record) bool {
	died := 0
	for _, report := range reports {
		for _, r := range history {
			if r.Kind == Fault && r.Node == report.Node && strings.HasPrefix(r.Note, "killed") && !strings.HasSuffix(r.Note, "healed") &&
				r.At >= report.At && r.At <= report.At+settleTime {
				died++
				break
			}
		}
	}
	return died >= len(reports)-1
}
