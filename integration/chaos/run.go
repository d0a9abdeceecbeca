package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sseplane/sseplane/integration/internal/fleet"
)

// Plan says how much of it there is.
type Plan struct {
	Seed    uint64
	Time    time.Duration // that the nemesis has
	Clients int
	Topics  int
	Directs int // clients that get events of their own
}

// Run is one run.
type Run struct {
	Plan
	Fleet   *fleet.Fleet
	History *History
	Log     func(format string, args ...any)

	name    string
	readers []*reader
	http    *http.Client
}

// settleLimit is how long the world may take to be as it should once all is healed: leases
// run out, half open connections are noticed (the write deadline is 30 s).
const settleLimit = 90 * time.Second

// mostExplained is how many violations are shown with what was around them.
const mostExplained = 10

// Do carries the plan out and returns what is wrong. The history is complete then, also
// if it could not be carried out to its end.
func (r *Run) Do(ctx context.Context) (problems []string, err error) {
	r.name = strconv.FormatUint(r.Seed, 36) + "-" + strconv.FormatInt(time.Now().UnixMilli(), 36)
	r.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 20}}
	defer r.http.CloseIdleConnections()

	reading, leave := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer leave()
	died := make(chan error, r.Clients)
	for _, reader := range r.people() {
		readers.Go(func() {
			run := reader.runOurs
			if len(reader.name)%2 == 0 {
				run = reader.runRaw
			}
			if err := run(reading); err != nil {
				died <- fmt.Errorf("%s: %w", reader.name, err)
			}
		})
	}
	if err := r.await(ctx, "all clients have a stream", r.connected); err != nil {
		return nil, err
	}

	publishers, err := r.storm(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.Fleet.Healthy(ctx); err != nil {
		return nil, err
	}
	// One more event each: the bus may have lost those before, and announced it.
	last := map[string]int{}
	for _, p := range publishers {
		if !p.one(ctx) {
			return nil, context.Cause(ctx)
		}
		last[p.topic] = p.last
	}
	r.Log("%s: all is healed, waiting for the last events", time.Now().Format(time.TimeOnly))
	rules := Rules{Topics: r.followed(), Last: last, Resets: r.Fleet.Bus.Forgets}
	late := r.await(ctx, "all clients have the last events", func() string { return r.behind(last) })
	if late != nil {
		problems = append(problems, late.Error())
	}
	if err := r.presenceIsTrue(ctx); err != nil {
		problems = append(problems, err.Error())
	}

	leave()
	readers.Wait()
	for len(died) > 0 {
		problems = append(problems, (<-died).Error())
	}
	if err := r.presenceIsTrue(ctx); err != nil {
		problems = append(problems, "with nobody there: "+err.Error())
	}
	problems = append(problems, r.reports(ctx)...)

	records := r.History.Records()
	for i, v := range Check(records, rules) {
		if i < mostExplained {
			problems = append(problems, Explain(records, v))
			continue
		}
		problems = append(problems, v.String())
	}
	return problems, nil
}

// people makes the clients. Half of them are ours, half raw ones: those whose names
// are of an even length.
func (r *Run) people() []*reader {
	for i := range r.Clients {
		name := fmt.Sprintf("client%d", 1000+i)
		if i%2 == 0 {
			name = fmt.Sprintf("raw%d", 10000+i)
		}
		reader := &reader{
			name: name, base: r.Fleet.URL(), http: r.http, history: r.History,
			all: map[string]int{}, last: map[string]int{},
		}
		for k := range 2 {
			reader.topics = append(reader.topics, topicName((i+3*k)%r.Topics))
		}
		r.readers = append(r.readers, reader)
	}
	return r.readers
}

func topicName(i int) string { return fmt.Sprintf("topic-%d", i) }

// followed returns what each client should get.
func (r *Run) followed() map[string][]string {
	topics := map[string][]string{}
	for _, reader := range r.readers {
		topics[reader.name] = append([]string{everyone, direct + reader.name}, reader.topics...)
	}
	return topics
}

// storm publishes while the nemesis rages.
func (r *Run) storm(ctx context.Context) (publishers []*publisher, err error) {
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	start := func(topic string, every time.Duration) {
		p := &publisher{topic: topic, base: r.Fleet.URL(), run: r.name, every: every, http: r.http, history: r.History}
		publishers = append(publishers, p)
		publishing.Go(func() { p.publish(ctx, stop) })
	}
	start(everyone, 500*time.Millisecond)
	for i := range r.Topics {
		start(topicName(i), 300*time.Millisecond)
	}
	for _, reader := range r.readers[:r.Directs] {
		start(direct+reader.name, time.Second)
	}
	enemy := &nemesis{fleet: r.Fleet, history: r.History, random: rand.New(rand.NewPCG(r.Seed, 0))}
	err = enemy.rage(ctx, time.Now().Add(r.Time))
	close(stop)
	publishing.Wait()
	return publishers, err
}

// connected says who has no stream.
func (r *Run) connected() string {
	for _, reader := range r.readers {
		if session, _ := reader.progress(); session == "" {
			return reader.name + " has none"
		}
	}
	return ""
}

// behind says who has not got the last events yet.
func (r *Run) behind(last map[string]int) string {
	followed := r.followed()
	for _, reader := range r.readers {
		_, got := reader.progress()
		for _, topic := range followed[reader.name] {
			if got[topic] < last[topic] {
				return fmt.Sprintf("%s has %d of %d of %s", reader.name, got[topic], last[topic], topic)
			}
		}
	}
	return ""
}

// await waits until there is nothing missing, and else returns what is.
func (r *Run) await(ctx context.Context, what string, missing func() string) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for {
		text := missing()
		if text == "" {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("it did not come about that %s: %s", what, text)
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// presenceIsTrue waits until all replicas say of all clients what is.
func (r *Run) presenceIsTrue(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	var errs []error
	for _, replica := range r.Fleet.Replicas {
		for {
			present, err := presence(ctx, r.Fleet.NodeURL(replica.Name))
			if err == nil {
				text := untrue(present, r.readers)
				if text == "" {
					break
				}
				err = fmt.Errorf("presence on %s: %s", replica.Name, text)
			}
			if ctx.Err() != nil {
				errs = append(errs, err)
				break
			}
			pause(ctx, 500*time.Millisecond)
		}
	}
	return errors.Join(errs...)
}

// reports waits until every session that a client has had is reported, and returns what
// is wrong with the reports.
func (r *Run) reports(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	sessions := map[string]string{}
	for _, reader := range r.readers {
		for _, session := range reader.sessions() {
			sessions[session] = reader.name
		}
	}
	for {
		reports, err := readReports(r.Fleet, r.History)
		if err != nil {
			return []string{err.Error()}
		}
		missing := 0
		seen := map[string]bool{}
		for _, report := range reports {
			seen[report.Session] = true
		}
		for session := range sessions {
			if !seen[session] {
				missing++
			}
		}
		if missing > 0 && ctx.Err() == nil {
			pause(ctx, time.Second)
			continue
		}
		for _, report := range reports {
			r.History.insert(report)
		}
		r.Log("%d sessions, %d reports of their ends", len(sessions), len(reports))
		return CheckReports(r.History.Records(), sessions, r.Fleet.Bus.Forgets)
	}
}
