package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
)

// TestMoves is the demo: a reader is moved from one replica to the next by stopping,
// killing and starting them, while numbered events are published from two sides, and it
// sees each of them once and in order.
func TestMoves(t *testing.T) {
	d, log, url := whole(t, "-tick", "3ms")
	reader, hangUp := follow(t, url+"/events?client=tab&topic=ticks&topic=own&hello=1")
	stopPublishing := publishNumbers(t, url)
	eventually(t, "a replica serves the reader", func() bool { node, _ := reader.now(); return node != "" })

	for _, how := range []string{"stop", "kill", "kill", "stop"} {
		was, moves := reader.now()
		ok(t, "POST", url+"/demo/replicas/"+was+"/"+how, "")
		eventually(t, "another replica serves the reader after a "+how, func() bool {
			node, m := reader.now()
			return m > moves && node != "" && node != was
		})
		before := reader.count()
		eventually(t, "events keep coming", func() bool { return reader.count() >= before+30 })
		eventually(t, "the replica has ended", func() bool { s := slotOf(t, url, was).State; return s == stopped || s == killed })
		ok(t, "POST", url+"/demo/replicas/"+was+"/start", "")
		eventually(t, "it is back", func() bool { return slotOf(t, url, was).Ready })
	}

	published := stopPublishing()
	ok(t, "POST", url+"/publish/own", "0")
	eventually(t, "the last event comes", func() bool {
		reader.mu.Lock()
		defer reader.mu.Unlock()
		for _, m := range reader.events {
			if m.Data == "0" {
				return true
			}
		}
		return false
	})
	hangUp()
	checkExact(t, reader, published)

	for _, session := range reader.sessions {
		eventually(t, "the end of "+session+" is reported", func() bool { return len(log.of(session)) > 0 })
	}
	if err := d.stop(d.slots[0].cfg.drain); err != nil {
		t.Error(err)
	}
	for _, session := range reader.sessions {
		if nodes := log.of(session); len(nodes) != 1 {
			t.Errorf("the end of session %s was reported by %v", session, nodes)
		}
	}
}

// publishNumbers publishes 1, 2, 3 and so on to the topic "own" until stop is called,
// which returns the last number. What is not accepted is repeated with its key.
func publishNumbers(t *testing.T, url string) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	last := make(chan int, 1)
	go func() {
		n := 1
		for ; ctx.Err() == nil; n++ {
			for {
				status, _, err := try(t.Context(), "POST", url+"/publish/own?key=own-"+strconv.Itoa(n), strconv.Itoa(n))
				if err == nil && status == http.StatusOK {
					break
				}
				if t.Context().Err() != nil {
					return
				}
			}
		}
		last <- n - 1
	}()
	return func() int { cancel(); return <-last }
}

func slotOf(t *testing.T, url, name string) slotInfo {
	t.Helper()
	text, err := json.Marshal(ok(t, "GET", url+"/demo/replicas", ""))
	if err != nil {
		t.Fatal(err)
	}
	var all []slotInfo
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no replica %q in %s", name, text)
	return slotInfo{}
}

// checkExact checks that the reader has seen each number once and in order.
func checkExact(t *testing.T, r *reader, published int) {
	t.Helper()
	for _, wrong := range r.wrong {
		t.Error(wrong)
	}
	ids := make(map[string]bool)
	last := make(map[string]int)
	for _, m := range r.events {
		if ids[m.ID] {
			t.Errorf("position %s came twice", m.ID)
		}
		ids[m.ID] = true
		var who string
		var n int
		switch m.Event {
		case "tick":
			var tick tick
			if err := json.Unmarshal([]byte(m.Data), &tick); err != nil {
				t.Fatal(err)
			}
			who, n = tick.Publisher, int(tick.N)
		case "":
			who = "own"
			n, _ = strconv.Atoi(m.Data)
		default:
			t.Fatalf("an event of type %q came: %s", m.Event, m.Data)
		}
		if n == 0 {
			continue // the one after the last
		}
		if l, known := last[who]; known && n != l+1 {
			t.Errorf("%s: %d came after %d", who, n, l)
		}
		last[who] = n
	}
	if last["own"] != published {
		t.Errorf("the last number that came is %d, %d were published", last["own"], published)
	}
	if len(last) != 2 {
		t.Errorf("events came from %v, want two publishers", last)
	}
	t.Logf("%d events on %d connections", len(r.events), len(r.sessions))
}
