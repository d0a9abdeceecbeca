package natsbus

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sseplane/sseplane/backplane"
)

// A snapshot is a register as it was at some sequence, in the register's stream
// itself: parts, and a head that names them. When its head is stored, what
// led to it is purged. It is made by whichever node comes first when the commands since
// the last one have become snapshotEvery, and four times what it is.
const (
	snapshotEvery = 1 << 20
	snapshotPart  = 256 << 10
)

type snapshotJSON struct {
	Now     int64            `json:"now"`
	Grace   time.Duration    `json:"grace"`
	Keep    time.Duration    `json:"keep"`
	Nodes   []nodeJSON       `json:"nodes"`
	Swept   map[string]int64 `json:"swept"`
	Clients []clientJSON     `json:"clients"`
	Leaving []string         `json:"leaving"`
	Ended   []endedJSON      `json:"ended"`
	Facts   []factJSON       `json:"facts"`
}

type nodeJSON struct {
	ID    string     `json:"id"`
	Lease int64      `json:"lease"` // 0: none
	Live  []liveJSON `json:"live,omitempty"`
	Owed  []owedJSON `json:"owed,omitempty"`
}

type liveJSON struct {
	sessionJSON
	First bool `json:"f,omitempty"`
}

type owedJSON struct {
	Kind backplane.DebtKind `json:"k"`
	Node string             `json:"o,omitempty"` // of the session
	By   string             `json:"b,omitempty"`
	sessionJSON
}

type clientJSON struct {
	Name  string `json:"c"`
	In    bool   `json:"in,omitempty"`
	Owed  bool   `json:"owed,omitempty"`
	Ended int64  `json:"at,omitempty"`
}

type endedJSON struct {
	ID    string `json:"i"`
	At    int64  `json:"at"`
	First bool   `json:"f,omitempty"`
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// encode writes the register down.
func (s *state) encode() ([]byte, error) {
	out := snapshotJSON{Now: nanos(s.now), Grace: s.grace, Keep: s.keep, Swept: make(map[string]int64, len(s.swept))}
	for _, n := range s.nodes {
		j := nodeJSON{ID: n.id, Lease: nanos(n.lease)}
		for _, live := range n.live.all() {
			j.Live = append(j.Live, liveJSON{sessionJSON{live.ID, live.Client, live.NodeName, live.Topics}, live.first})
		}
		for _, o := range n.owed.all() {
			d := o.debt.Session
			j.Owed = append(j.Owed, owedJSON{o.debt.Kind, d.Node, o.by, sessionJSON{d.ID, d.Client, d.NodeName, d.Topics}})
		}
		out.Nodes = append(out.Nodes, j)
	}
	for id, at := range s.swept {
		out.Swept[id] = nanos(at)
	}
	for _, c := range s.clients {
		out.Clients = append(out.Clients, clientJSON{c.name, c.in, c.owed, nanos(c.ended)})
	}
	for name := range s.leaving.all() {
		out.Leaving = append(out.Leaving, name)
	}
	for id, e := range s.ended.all() {
		out.Ended = append(out.Ended, endedJSON{id, nanos(e.at), e.first})
	}
	for _, facts := range s.facts.byClient {
		for _, f := range facts {
			if f.until.After(s.now) {
				out.Facts = append(out.Facts, factJSON{Client: f.Client, Kind: f.Kind, Name: f.Name, Value: f.Value, Version: f.Version.String(), Until: nanos(f.until)})
			}
		}
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(w).Encode(&out); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// decodeState is the inverse of encode.
func decodeState(data []byte) (*state, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var in snapshotJSON
	if err := json.Unmarshal(plain, &in); err != nil {
		return nil, err
	}
	s := newState()
	s.now, s.grace, s.keep = fromNanos(in.Now), in.Grace, in.Keep
	for _, j := range in.Clients {
		s.clients[j.Name] = &clientState{name: j.Name, in: j.In, owed: j.Owed, ended: fromNanos(j.Ended)}
	}
	for _, j := range in.Nodes {
		n := s.node(j.ID)
		n.lease = fromNanos(j.Lease)
		for _, live := range j.Live {
			c := s.client(live.Client)
			session := &sessionState{Session: live.session(j.ID), client: c, first: live.First}
			c.sessions = append(c.sessions, session)
			n.live.put(live.ID, session)
		}
		for _, o := range j.Owed {
			d := backplane.Debt{Kind: o.Kind, Session: o.session(o.Node)}
			n.owed.put(keyOf(d), owedState{debt: d, by: o.By})
		}
	}
	for id, at := range in.Swept {
		s.swept[id] = fromNanos(at)
	}
	for _, name := range in.Leaving {
		s.leaving.put(name, s.client(name))
	}
	for _, e := range in.Ended {
		s.ended.put(e.ID, endedState{fromNanos(e.At), e.First})
	}
	for _, j := range in.Facts {
		f := storedFact{Fact: backplane.Fact{Client: j.Client, Kind: j.Kind, Name: j.Name, Value: j.Value}, until: fromNanos(j.Until)}
		if j.Version != "" {
			if f.Version, err = backplane.ParsePosition(j.Version); err != nil {
				return nil, err
			}
		}
		s.facts.byClient[f.Client] = append(s.facts.byClient[f.Client], f)
		s.facts.count++
	}
	for _, facts := range s.facts.byClient {
		slices.SortFunc(facts, func(a, b storedFact) int { return cmp.Or(factOrder(a.Fact, b.Fact)) })
	}
	s.facts.sweepAt = max(minFactSweep, 2*s.facts.count)
	return s, nil
}

// load reads the newest snapshot, and returns the sequence behind which commands
// are still to be applied.
func (r *replica) load(ctx context.Context) (from uint64, err error) {
	l := r.log
	var s *state
	var head stored
	var weight int
	err = retry(ctx, func(ctx context.Context) error {
		if err := r.stream.once(ctx, l.ensureRegister); err != nil {
			return err
		}
		if err := l.main.await(ctx); err != nil {
			return err
		}
		s, head, from, weight = newState(), stored{}, 0, 0
		var err error
		head, err = l.getFrom(ctx, l.names.register, map[string]any{"last_by_subj": l.names.head()})
		if code(err) == codeMessageNotFound {
			return nil
		}
		if code(err) == codeStreamNotFound || errors.Is(err, nats.ErrNoResponders) {
			r.stream.doubt()
		}
		if err != nil {
			return err
		}
		c, err := parseCommand(head.payload)
		if err != nil || c.Op != opHead {
			return fatal{fmt.Errorf("natsbus: register snapshot: %w", cmp.Or(err, errForeign))}
		}
		var data []byte
		for _, seq := range c.Parts {
			part, err := l.getFrom(ctx, l.names.register, map[string]any{"seq": seq})
			if err != nil {
				return err // purged by a newer snapshot, perhaps
			}
			data = append(data, part.payload...)
		}
		if s, err = decodeState(data); err != nil {
			return fatal{fmt.Errorf("natsbus: register snapshot: %w", err)}
		}
		from, weight = c.Base, len(data)
		return nil
	})
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.seq, r.head, r.weight, r.since = s, from, head.seq, weight, 0
	return from, nil
}

// maybeSnapshot has a snapshot made when it is time for one.
func (r *replica) maybeSnapshot() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shooting || r.state == nil || r.since < max(r.enough, 4*r.weight) {
		return
	}
	r.shooting = true
	r.log.calls.Go(func() {
		r.snapshot(r.log.life)
		r.mu.Lock()
		r.shooting = false
		r.mu.Unlock()
	})
}

// snapshot makes a snapshot, unless another node is faster.
func (r *replica) snapshot(ctx context.Context) {
	l := r.log
	r.mu.Lock()
	head := r.head
	r.mu.Unlock()
	if sleep(ctx, time.Duration(mathrand.Int64N(int64(time.Second)))) != nil {
		return
	}
	r.mu.Lock()
	if r.state == nil || r.head != head {
		r.mu.Unlock()
		return
	}
	base := r.seq
	data, err := r.state.encode()
	// Should it fail, the next try is that many bytes later.
	r.weight, r.since = len(data), 0
	r.mu.Unlock()
	if err == nil {
		_, err = decodeState(data) // what nobody could read would take the place of what all can
	}
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c := command{Version: commandVersion, Op: opHead, Base: base}
	id := "s-" + strconv.FormatUint(mathrand.Uint64(), 36) + "-"
	for i := 0; len(data) > 0; i++ {
		n := min(len(data), l.main.messageLimit(snapshotPart))
		var seq uint64
		err := retry(ctx, func(ctx context.Context) (err error) {
			seq, err = r.put(ctx, l.names.part(), id+strconv.Itoa(i), data[:n], nil)
			return err
		})
		if err != nil {
			return
		}
		data = data[n:]
		c.Parts = append(c.Parts, seq)
	}
	c.ID = id
	out, err := c.encode(commandBytes)
	if err != nil {
		return
	}
	// Of several snapshots made at once one wins: the purge that belongs to a newer head
	// may have taken parts of this one.
	first := nats.Header{jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(head, 10)}}
	err = retry(ctx, func(ctx context.Context) error {
		_, err := r.put(ctx, l.names.head(), id+"head", out, first)
		return err
	})
	if err == nil {
		_ = l.main.api(ctx, "STREAM.PURGE."+l.names.register, map[string]any{"seq": base + 1}, nil)
	}
}
