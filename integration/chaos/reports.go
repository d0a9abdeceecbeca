package chaos

import (
	"cmp"
	"fmt"
	"math"
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

// demotion is how long, in seconds, a primary that was replaced while it was paused goes on accepting what is
// lost then: Sentinel makes it a replica 10 s after it is back.
const demotion = 13

// CheckReports returns what is wrong with the reports of sessions that have ended: each
// of the sessions, which are given with their clients, is reported exactly once, and no
// session twice. A replica that dies inside its callback, or is taken for dead there,
// may cause a second report; a bus that forgets what it has accepted can forget a
// session that came while it failed over, or that the end of one was reported. Of a session that came to a
// replica which was cut off from the bus, and which died before it was back for long enough, nobody else ever heard.
func CheckReports(history []Record, sessions map[string]string, forgets bool) (problems []string) {
	reports := map[string][]Record{}
	opened := map[string]float64{}
	served := map[string]string{} // by which replica
	for _, r := range history {
		switch r.Kind {
		case Ended:
			reports[r.Session] = append(reports[r.Session], r)
		case Opened:
			opened[r.Session] = r.At
		case Served:
			served[r.Session] = r.Node
		}
	}
	broken := outages(history)
	if forgets {
		for i := range broken {
			if broken[i].bus {
				broken[i].to += demotion
			}
		}
	}
	forgotten := func(session string) bool {
		at, known := opened[session]
		return forgets && known && slices.ContainsFunc(broken, func(o outage) bool { return o.bus && o.from <= at && at <= o.to })
	}
	unheard := func(session string) bool {
		at, known := opened[session]
		node := served[session]
		return known && slices.ContainsFunc(broken, func(cut outage) bool {
			return cut.fromBus && cut.node == node && cut.from <= at && at <= cut.to &&
				slices.ContainsFunc(broken, func(o outage) bool {
					return o.death && o.node == node && o.from >= at && o.from <= cut.to+settleTime
				})
		})
	}
	for session, client := range sessions {
		if len(reports[session]) == 0 && !forgotten(session) && !unheard(session) {
			problems = append(problems, fmt.Sprintf("session %s of %s has ended, and nobody said so", session, client))
		}
	}
	for session, all := range reports {
		slices.SortFunc(all, func(a, b Record) int { return cmp.Compare(a.At, b.At) })
		for i := 1; i < len(all); i++ {
			if !excused(broken, all[i-1], all[i]) {
				problems = append(problems, fmt.Sprintf("session %s was reported %d times: %v", session, len(all), all))
				break
			}
		}
	}
	slices.Sort(problems)
	return problems
}

// settleTime is how long a replica may need to have noted that its callback has returned.
const settleTime = 2.0

// excused reports whether a second report may be: the first replica was killed before it
// can have noted the first one, or it could not note it because it, or the bus, was away, and
// another one took its place. (The same process knows what it has reported.)
func excused(broken []outage, first, second Record) bool {
	for _, o := range broken {
		if o.from > first.At+settleTime || o.to < first.At {
			continue
		}
		if o.node == first.Node && (o.death || second.Node != first.Node) || o.bus && second.Node != first.Node {
			return true
		}
	}
	return false
}

// outage is a time when a replica, or the bus, was not there.
type outage struct {
	node     string
	bus      bool
	death    bool // of its process
	fromBus  bool // it was cut off from the bus
	from, to float64
}

// outages reads them from the records of the nemesis.
func outages(history []Record) (all []outage) {
	begun := map[Record]float64{}
	for _, r := range history {
		if r.Kind != Fault {
			continue
		}
		key := Record{Node: r.Node, Note: strings.TrimSuffix(r.Note, healed)}
		if !strings.HasSuffix(r.Note, healed) {
			begun[key] = r.At
			continue
		}
		from := begun[key]
		delete(begun, key)
		all = append(all, outageOf(key, from, r.At))
	}
	for key, from := range begun { // not healed yet
		all = append(all, outageOf(key, from, math.Inf(1)))
	}
	return all
}

func outageOf(fault Record, from, to float64) outage {
	return outage{
		node: fault.Node, bus: len(fault.Node) > 1 && fault.Note != "rolled", // replicas are single letters
		death: strings.HasPrefix(fault.Note, "killed"), fromBus: strings.HasPrefix(fault.Note, "cut off from the bus"),
		from: from, to: to,
	}
}
