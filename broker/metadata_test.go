package broker_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/broker"
)

func TestMetadata(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		connect(t, a, "joe")
		for _, n := range nodes {
			m, err := n.GetClientMetadata("joe")
			if err != nil || m == nil || len(m) != 0 {
				t.Errorf("a client without metadata has %v, %v", m, err)
			}
		}
		in := map[string]any{"name": "Joe", "age": 42, "tags": []string{"a"}, "nested": map[string]any{"t": true}, "nil": nil}
		must(t, b.SetClientMetadata("joe", in))
		want := map[string]any{"name": "Joe", "age": 42.0, "tags": []any{"a"}, "nested": map[string]any{"t": true}, "nil": nil}
		for _, n := range nodes {
			if m, err := n.GetClientMetadata("joe"); err != nil || !reflect.DeepEqual(m, want) {
				t.Errorf("metadata %v, %v", m, err)
			}
		}
		must(t, a.SetClientMetadata("joe", map[string]any{"other": 1})) // in place of, not merged
		if m, _ := b.GetClientMetadata("joe"); len(m) != 1 || m["other"] != 1.0 {
			t.Errorf("metadata %v", m)
		}
		must(t, a.SetClientMetadata("joe", nil))
		if m, err := b.GetClientMetadata("joe"); err != nil || m == nil || len(m) != 0 {
			t.Errorf("metadata %v, %v", m, err)
		}
	})
}

func TestMetadataAtConnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		m := broker.ClientMetadata{"n": 1}
		one := connect(t, a, "joe", broker.Metadata(m))
		m["n"] = "changed later"
		if m, err := b.GetClientMetadata("joe"); err != nil || m["n"] != 1.0 {
			t.Errorf("metadata %v, %v", m, err)
		}
		two := connect(t, b, "joe") // says nothing: leaves it
		if m, _ := a.GetClientMetadata("joe"); m["n"] != 1.0 {
			t.Errorf("metadata %v", m)
		}
		connect(t, b, "joe", broker.Metadata(broker.ClientMetadata{}))
		if m, _ := a.GetClientMetadata("joe"); len(m) != 0 {
			t.Errorf("metadata %v", m)
		}
		one.leave()
		two.leave()
	})
}

// Metadata outlives the first session of a client, its node, and the time for which
// the register would remember it by itself.
func TestMetadataLivesWithTheClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2, broker.WithResumeGrace(time.Minute))
		a, b := nodes[0], nodes[1]
		one := connect(t, a, "joe", broker.Metadata(broker.ClientMetadata{"k": "v"}))
		two := connect(t, b, "joe")
		synctest.Wait()
		one.leave()
		must(t, a.Close())
		time.Sleep(time.Hour)
		if m, err := b.GetClientMetadata("joe"); err != nil || m["k"] != "v" {
			t.Errorf("metadata %v, %v", m, err)
		}
		two.leave()
		time.Sleep(2 * time.Minute)
		_, err := b.GetClientMetadata("joe")
		mustBeUnknown(t, err)
	})
}

func TestMetadataThatIsNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, broker.WithMaxEventSize(1000))
		r := connect(t, b, "joe", broker.Metadata(broker.ClientMetadata{"k": "v"}))
		for what, m := range map[string]broker.ClientMetadata{
			"channel": {"c": make(chan int)}, "NaN": {"n": math.NaN()},
		} {
			if b.SetClientMetadata("joe", m) == nil {
				t.Errorf("%s: no error", what)
			}
			k := newSink()
			req, _ := request(t)
			if _, err := b.Connect("ann", k, req, broker.Metadata(m)); err == nil {
				t.Errorf("%s: connected", what)
			}
			if k.code() != 500 {
				t.Errorf("%s: status %d", what, k.code())
			}
		}
		large := broker.ClientMetadata{"k": strings.Repeat("x", 1000)}
		mustBe(t, b.SetClientMetadata("joe", large), broker.ErrEventTooLarge)
		k := newSink()
		req, _ := request(t)
		if _, err := b.Connect("ann", k, req, broker.Metadata(large)); !errors.Is(err, broker.ErrEventTooLarge) {
			t.Errorf("Connect with too much metadata: %v", err)
		}
		if m, _ := b.GetClientMetadata("joe"); m["k"] != "v" {
			t.Errorf("metadata %v", m)
		}
		r.wants()
		if b.IsClientPresent("ann") {
			t.Error("ann is present")
		}
	})
}

// Without a bus a node answers from its copy, if it has one.
func TestMetadataWithoutABus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wire := newUnreliable(newBus())
		b := start(t, broker.WithBackplane(wire))
		connect(t, b, "joe", broker.Metadata(broker.ClientMetadata{"k": "v"}))
		synctest.Wait()
		wire.cutOff()
		if m, err := b.GetClientMetadata("joe"); err != nil || m["k"] != "v" {
			t.Errorf("metadata %v, %v", m, err)
		}
		_, err := b.GetClientMetadata("ann")
		mustBe(t, err, broker.ErrUnavailable)
		mustBe(t, b.SetClientMetadata("joe", nil), broker.ErrUnavailable)
		wire.heal()
	})
}

// A node puts its copy back when the bus has lost it.
func TestMetadataSurvivesTheRegister(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, bus := cluster(t, 2)
		connect(t, nodes[0], "joe", broker.Metadata(broker.ClientMetadata{"k": "v"}))
		must(t, nodes[1].Join(t.Context(), "joe", "room"))
		synctest.Wait()
		bus.Tamper("default").Lose()
		time.Sleep(5 * time.Minute)
		if m, err := nodes[0].GetClientMetadata("joe"); err != nil || m["k"] != "v" {
			t.Errorf("metadata %v, %v", m, err)
		}
		r := connect(t, nodes[1], "joe")
		publish(t, nodes[1], broker.Topics("room"), text("x"))
		r.wants("x")
	})
}
