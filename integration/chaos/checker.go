package chaos

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sseplane/sseplane/broker"
)

// Rules say what a history is held to.
type Rules struct {
	// Topics that each client follows.
	Topics map[string][]string
	// Last numbers that were published, by topic.
	Last map[string]int
	// Resets may happen: the bus can lose what it had accepted.
	Resets bool
}

// Violation is where a history breaks a rule.
type Violation struct {
	Rule   string
	Record Record // the one that shows it, or the zero Record for one that is missing
	Index  int    // of the record
	Client string
	Topic  string
	From   int // the numbers concerned
	To     int
}

func (v Violation) String() string {
	text := fmt.Sprintf("%s: client %s", v.Rule, v.Client)
	if v.Topic != "" {
		text += fmt.Sprintf(", topic %s, numbers %d to %d", v.Topic, v.From, v.To)
	}
	return text + fmt.Sprintf(" (at %.3f s)", v.Record.At)
}

// The rules.
const (
	Duplicate  = "an event came twice, or out of order"
	Gap        = "an event is missing, and no reset said so"
	Incomplete = "the last events never came"
	Foreign    = "an event that was not asked for, or was never published"
	Unordered  = "a position is not behind the one before it"
	Misplaced  = "an event has not the position that its publisher was told"
	Needless   = "a reset, although nothing can have been lost"
)

// Check returns all violations.
func Check(history []Record, rules Rules) []Violation {
	c := checker{rules: rules, readers: map[string]*record{}, accepted: map[string]string{}}
	for _, r := range history {
		if r.Kind == Published {
			c.accepted[encode(r.Topic, r.N)] = r.Position
		}
	}
	for i, r := range history {
		switch r.Kind {
		case Received:
			c.received(i, r)
		case WasReset:
			c.reset(i, r)
		}
	}
	c.complete()
	return c.violations
}

type checker struct {
	rules      Rules
	readers    map[string]*record
	accepted   map[string]string // position by event
	violations []Violation
}

// record is how far a client is.
type record struct {
	last     map[string]int
	open     map[string]bool // topics where a reset allows a gap
	gaps     []Violation     // that no reset has announced yet
	position broker.Position
}

func (c *checker) reader(name string) *record {
	r := c.readers[name]
	if r == nil {
		r = &record{last: map[string]int{}, open: map[string]bool{}}
		c.readers[name] = r
	}
	return r
}

func (c *checker) violated(rule string, i int, r Record, from, to int) {
	c.violations = append(c.violations, Violation{rule, r, i, r.Client, r.Topic, from, to})
}

func (c *checker) received(i int, r Record) {
	reader := c.reader(r.Client)
	if r.Note != "" || !slices.Contains(c.rules.Topics[r.Client], r.Topic) || r.N > c.rules.Last[r.Topic] {
		c.violated(Foreign, i, r, r.N, r.N)
		return
	}
	last := reader.last[r.Topic]
	switch {
	case reader.open[r.Topic]:
		// A bus that has lost events may have lost that it had accepted them: an event
		// whose publisher was in doubt can come once more.
		reader.open[r.Topic] = false
	case r.N <= last:
		c.violated(Duplicate, i, r, r.N, last)
	case r.N > last+1 && c.rules.Resets:
		reader.gaps = append(reader.gaps, Violation{Gap, r, i, r.Client, r.Topic, last + 1, r.N - 1})
	case r.N > last+1:
		c.violated(Gap, i, r, last+1, r.N-1)
	}
	reader.last[r.Topic] = max(r.N, last)
	c.place(i, r, reader)
	// What the bus has lost is published again elsewhere.
	if at, known := c.accepted[encode(r.Topic, r.N)]; known && at != r.Position && !c.rules.Resets {
		c.violated(Misplaced, i, r, r.N, r.N)
	}
}

// place checks the position against the one before it. A new epoch comes with a reset.
func (c *checker) place(i int, r Record, reader *record) {
	at, err := broker.ParsePosition(r.Position)
	if err != nil || at.Epoch == reader.position.Epoch && at.Seq <= reader.position.Seq {
		c.violated(Unordered, i, r, r.N, r.N)
	}
	reader.position = at
}

func (c *checker) reset(i int, r Record) {
	if !c.rules.Resets {
		c.violated(Needless, i, r, 0, 0)
	}
	reader := c.reader(r.Client)
	// A bus of two halves that both accept events is found out when one half is given up.
	reader.gaps = nil
	for _, topic := range c.rules.Topics[r.Client] {
		reader.open[topic] = true
	}
	reader.position = broker.Position{}
}

// complete: everybody has everything in the end, or was told.
func (c *checker) complete() {
	for _, reader := range c.readers {
		c.violations = append(c.violations, reader.gaps...)
	}
	for name, topics := range c.rules.Topics {
		reader := c.reader(name)
		for _, topic := range topics {
			if got, last := reader.last[topic], c.rules.Last[topic]; got < last && !reader.open[topic] {
				c.violated(Incomplete, -1, Record{Client: name, Topic: topic}, got+1, last)
			}
		}
	}
}

// Explain returns the part of a history that a violation is about: what the client
// saw around it, the publishing of the events concerned, and what was broken.
func Explain(history []Record, v Violation) string {
	var out strings.Builder
	fmt.Fprintln(&out, v)
	mine := 0 // records of the client until the violation
	for i, r := range history {
		if i <= v.Index && r.Client == v.Client {
			mine++
		}
	}
	nth := 0
	for _, r := range history {
		show := false
		if r.Client == v.Client {
			nth++
			show = v.Index >= 0 && nth > mine-15 && nth <= mine+5
		}
		switch r.Kind {
		case Published, Doubted:
			show = show || r.Topic == v.Topic && r.N >= v.From-1 && r.N <= v.To+1 && r.N < v.From+20
		case Fault:
			show = show || v.Index < 0 || r.At > v.Record.At-20 && r.At < v.Record.At+5
		}
		if show {
			fmt.Fprintln(&out, "  ", r)
		}
	}
	return out.String()
}

func (r Record) String() string {
	text := fmt.Sprintf("%8.3f %-9s", r.At, r.Kind)
	for _, part := range []string{r.Client, r.Node, r.Session, r.Topic, r.Position, r.Note} {
		if part != "" {
			text += " " + part
		}
	}
	if r.N > 0 {
		text += fmt.Sprintf(" #%d", r.N)
	}
	return text
}
