package backplanetest

import (
	"fmt"
	"slices"
	"sync"

	"github.com/sseplane/sseplane/backplane"
)

func loadChecks() []check {
	return []check{
		{"10000 sessions", loadSessions},
		{"many publishers and followers", loadLog},
	}
}

// loadSessions is the life of ten nodes with a thousand sessions each, the
// deaths of half of them included.
func loadSessions(e *env) {
	const nodes = 10
	perNode := e.heavy(1000)
	logs := e.nodes(4)
	name := func(i int) string { return fmt.Sprint("n", i) }
	joined := make([]int, nodes)
	e.together(nodes, func(i int) error {
		l := logs[i%len(logs)]
		if err := l.Renew(e.ctx, name(i), long); err != nil {
			return err
		}
		for chunk := range slices.Chunk(sessionsOf(name(i), perNode), 500) {
			r, err := l.Update(e.ctx, name(i), chunk, nil)
			if err != nil {
				return err
			}
			joined[i] += len(r.Joined)
		}
		return nil
	})
	var all []backplane.Session
	var clients []string
	for i := range nodes {
		if joined[i] != perNode {
			e.Errorf("%d of %d clients joined at node %d", joined[i], perNode, i)
		}
		all = append(all, sessionsOf(name(i), perNode)...)
	}
	for _, s := range all {
		clients = append(clients, s.Client)
	}
	e.wantSessions(logs[0], all...)
	for i, p := range e.presence(logs[1], clients...) {
		if p != backplane.Present {
			e.Fatalf("presence of %q: %v", clients[i], p)
		}
	}
	for i := range nodes / 2 {
		e.release(logs[0], name(i))
	}
	var mu sync.Mutex // guards debts
	var debts []backplane.Debt
	e.together(nodes/2, func(i int) error {
		got, err := drain(e.ctx, logs[i%len(logs)], name(nodes/2+i), 200)
		if err == nil {
			err = logs[i%len(logs)].Settle(e.ctx, name(nodes/2+i), got)
		}
		mu.Lock()
		defer mu.Unlock()
		debts = append(debts, got...)
		return err
	})
	half := len(all) / 2
	e.wantDebts("of the nodes that died", debts, endedDebts(all[:half]...))
	e.wantSessions(logs[0], all[half:]...)
}

func loadLog(e *env) {
	logs := e.nodes(4)
	from := e.bounds(logs[0]).First
	var follow []*following
	for i := range 12 {
		follow = append(follow, e.follow(logs[i%len(logs)], from))
	}
	batches := e.heavy(100)
	const perBatch = 20
	producers := make([]*producer, 2*len(logs))
	for i := range producers {
		producers[i] = e.producer(logs[i%len(logs)])
	}
	e.together(len(producers), func(i int) error {
		for j := range batches {
			if _, err := producers[i].try(e.ctx, numbered(fmt.Sprint(i, "-", j, "-"), perBatch)...); err != nil {
				return err
			}
		}
		return nil
	})
	n := len(producers) * batches * perBatch
	whole := follow[0].wait(n)
	if len(whole) != n {
		e.Fatalf("%d entries published, %d followed", n, len(whole))
	}
	for i, f := range follow[1:] {
		if !slices.Equal(places(f.wait(n)), places(whole)) || !slices.Equal(texts(f.entries()), texts(whole)) {
			e.Errorf("follower %d has seen another sequence than follower 0", i+1)
		}
	}
	next := make(map[string]int)
	for _, entry := range whole {
		var i, j, k int
		if _, err := fmt.Sscanf(string(entry.Data), "%d-%d-%d", &i, &j, &k); err != nil {
			e.Fatal(err)
		}
		id := fmt.Sprint(i)
		if next[id] != j*perBatch+k {
			e.Fatalf("producer %d: entry %d is where %d should be", i, j*perBatch+k, next[id])
		}
		next[id]++
	}
}
