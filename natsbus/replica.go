package natsbus

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// replica is this node's copy of the register: it follows the register's stream and
// applies the commands in it. An operation stores a command and waits until the
// replica has applied it, so it sees everything that was stored before, and is
// answered only by a server with a quorum behind it.
//
// It begins with the first operation, and lives as long as the log is open.
type replica struct {
	log    *busLog
	stream *ensured

	mu      sync.Mutex // guards what follows
	running bool
	state   *state // nil while it is being loaded
	seq     uint64 // of the last message applied
	source  *source
	failed  error // why it can not go on: commands of a newer version
	waiting map[string]chan result
	doubt   map[string][]string // by node: ids of collects whose results never arrived

	look    *flight // the one that the next callers wait for
	looking bool

	head     uint64 // sequence of the newest snapshot's head, 0: none
	weight   int    // of the newest snapshot
	since    int    // bytes of commands since then
	shooting bool   // a snapshot is being made here
	enough   int    // bytes of commands that are worth a snapshot
}

// flight is a look at the register that several callers wait for.
type flight struct {
	done chan struct{}
	err  error
}

func (r *replica) init(l *busLog) {
	r.log = l
	r.stream = newEnsured()
	r.enough = l.bus.options.snapshot
	r.waiting = make(map[string]chan result)
	r.doubt = make(map[string][]string)
}

var errReloaded = errors.New("natsbus: the register was read anew, and what became of the call is not known")

// resultPatience is how long a stored command may take to come back before the
// consumer is taken for deaf.
const resultPatience = 500 * time.Millisecond

// begin makes sure that the replica runs.
func (r *replica) begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return r.failed
	}
	if !r.running {
		r.running = true
		r.log.calls.Go(func() { r.run(r.log.life) })
	}
	return nil
}

// do stores a command and returns its result, for as long as ctx lasts.
func (r *replica) do(ctx context.Context, c command) (res result, err error) {
	cfg := &r.log.cfg
	c.Version, c.Grace, c.Keep = commandVersion, cfg.ResumeGrace, max(cfg.RetentionAge, cfg.ResumeGrace)
	err = retry(ctx, func(ctx context.Context) (err error) {
		res, err = r.try(ctx, &c)
		return err
	})
	if err == nil {
		err = res.err
	}
	return res, err
}

// try stores a command under a new id, and waits for its result. The command is sent
// again until the server has answered; the id makes it count once.
func (r *replica) try(ctx context.Context, c *command) (result, error) {
	if err := r.begin(); err != nil {
		return result{}, err
	}
	c.ID = rand.Text()[:16]
	if c.Op == opCollect {
		r.mu.Lock()
		c.Redo = r.doubt[c.Node]
		r.doubt[c.Node] = append(c.Redo[:len(c.Redo):len(c.Redo)], c.ID)
		r.mu.Unlock()
	}
	data, err := c.encode(r.log.main.messageLimit(commandBytes))
	if err != nil {
		return result{}, fatal{err}
	}
	came := make(chan result, 1)
	r.mu.Lock()
	r.waiting[c.ID] = came
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.waiting, c.ID)
		r.mu.Unlock()
	}()

	err = retry(ctx, func(ctx context.Context) error { return r.store(ctx, r.log.names.command(), c.ID, data) })
	if err != nil {
		return result{}, err
	}
	patience := time.NewTimer(resultPatience)
	defer patience.Stop()
	for {
		select {
		case res := <-came:
			if errors.Is(res.err, errReloaded) {
				return res, res.err
			}
			if c.Op == opCollect {
				r.mu.Lock()
				delete(r.doubt, c.Node)
				r.mu.Unlock()
			}
			return res, nil
		case <-patience.C:
			r.mu.Lock()
			s := r.source
			r.mu.Unlock()
			if s != nil && time.Since(s.state().fresh) > resultPatience {
				s.kick(errDeaf)
			}
			patience.Reset(2 * resultPatience)
		case <-ctx.Done():
			return result{}, cmp.Or(r.trouble(), ctx.Err())
		}
	}
}

// trouble returns why the replica does not follow at the moment, or nil.
func (r *replica) trouble() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source == nil {
		return nil
	}
	return r.source.state().trouble
}

// store stores a message in the register's stream, in one try.
func (r *replica) store(ctx context.Context, subject, id string, data []byte) error {
	_, err := r.put(ctx, subject, id, data, nil)
	return err
}

func (r *replica) put(ctx context.Context, subject, id string, data []byte, header nats.Header) (uint64, error) {
	l := r.log
	if err := r.stream.once(ctx, l.ensureRegister); err != nil {
		return 0, err
	}
	if err := l.main.await(ctx); err != nil {
		return 0, err
	}
	m := nats.NewMsg(subject)
	for k, v := range header {
		m.Header[k] = v
	}
	m.Header.Set(jetstream.MsgIDHeader, id)
	m.Data = data
	a, err := l.main.publish(ctx, m, publishTimeout)
	if errors.Is(err, nats.ErrNoResponders) {
		r.stream.doubt()
	}
	return a.Sequence, err
}

// fresh waits until the replica has everything that was stored before the call.
// Calls that come together share one command.
func (r *replica) fresh(ctx context.Context) error {
	return retry(ctx, func(ctx context.Context) error {
		r.mu.Lock()
		f := r.look
		if f == nil {
			f = &flight{done: make(chan struct{})}
			r.look = f
			if !r.looking {
				r.looking = true
				r.log.calls.Go(r.lookAhead)
			}
		}
		r.mu.Unlock()
		select {
		case <-f.done:
			return f.err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// lookAhead serves the callers of fresh, one command at a time.
func (r *replica) lookAhead() {
	for {
		r.mu.Lock()
		f := r.look
		r.look = nil
		if f == nil {
			r.looking = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		ctx, cancel := context.WithTimeout(r.log.life, 2*time.Second)
		_, f.err = r.do(ctx, command{Op: opLook})
		cancel()
		close(f.done)
	}
}

// run keeps the replica until ctx ends.
func (r *replica) run(ctx context.Context) {
	var p pause
	for ctx.Err() == nil {
		from, err := r.load(ctx)
		if err == nil {
			p = 0
			err = r.follow(ctx, from)
		}
		r.forget(err)
		if errors.Is(err, errVersion) || errors.Is(err, ErrForeignStream) || p.wait(ctx) != nil {
			return
		}
	}
}

// forget gives up what the replica knows, because of err.
func (r *replica) forget(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.source = nil, nil
	if errors.Is(err, errVersion) || errors.Is(err, ErrForeignStream) {
		r.failed, r.running = err, false
		if errors.Is(err, ErrForeignStream) {
			r.failed = nil // may be put right
		}
	}
	for id, to := range r.waiting {
		why := errReloaded
		if r.failed != nil {
			why = r.failed
		}
		select {
		case to <- result{err: why}:
		default:
		}
		delete(r.waiting, id)
	}
}

// follow applies what comes behind sequence from.
func (r *replica) follow(ctx context.Context, from uint64) error {
	l := r.log
	ctx, cancel := context.WithCancel(ctx)
	s := l.newSource(l.names.register, anchor{})
	s.seq, s.bare = from, true
	s.at.Seq = place(from, 0)
	s.verdict = r.verdict
	s.missing = r.stream.doubt
	r.mu.Lock()
	r.source = s
	r.mu.Unlock()
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx) })
	defer running.Wait()
	defer s.fail(context.Canceled)
	defer cancel()
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		messages, err := s.take()
		if err != nil {
			return err
		}
		for i := range messages {
			if err := r.apply(&messages[i]); err != nil {
				return err
			}
		}
		r.maybeSnapshot()
	}
}

func (r *replica) apply(m *stored) error {
	c, err := parseCommand(m.payload)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq = m.seq
	if errors.Is(err, errForeign) {
		return nil // part of a snapshot, or nothing of ours
	}
	if err != nil {
		return err
	}
	if c.Op == opHead {
		r.head, r.since = m.seq, 0
		return nil
	}
	r.since += len(m.payload) + 64
	res := r.state.apply(&c, time.Unix(0, m.time))
	if to := r.waiting[c.ID]; to != nil {
		to <- res.clone()
		delete(r.waiting, c.ID)
	}
	return nil
}

// verdict finds out whether the register's history is still the one that was
// followed, as busLog.verdict does for the log. Where it is not, or part of it has
// become a snapshot, the register is read anew.
func (r *replica) verdict(ctx context.Context, a anchor) (bool, error) {
	l := r.log
	seq, _ := message(a.Seq)
	look := command{Version: commandVersion, ID: rand.Text()[:16], Op: opLook, Grace: l.cfg.ResumeGrace, Keep: max(l.cfg.RetentionAge, l.cfg.ResumeGrace)}
	data, err := look.encode(commandBytes)
	if err != nil {
		return false, err
	}
	at, err := r.put(ctx, l.names.command(), look.ID, data, nil)
	if err != nil {
		return false, err
	}
	if at <= seq {
		return false, fatal{errReloaded}
	}
	var info jetstream.StreamInfo
	if err := l.main.api(ctx, "STREAM.INFO."+l.names.register, nil, &info); err != nil {
		return false, err
	}
	switch {
	case info.State.LastSeq < at:
		return false, errStale
	case info.State.FirstSeq == seq+1:
		return true, nil
	case info.State.FirstSeq > seq:
		return false, fatal{errReloaded}
	}
	m, err := l.getFrom(ctx, l.names.register, map[string]any{"seq": seq})
	if err != nil {
		return false, err
	}
	if a.time != 0 && m.time != a.time {
		return false, fatal{errReloaded}
	}
	return false, errStale
}

// read calls f with the register as it is after everything that was stored
// before.
func (r *replica) read(ctx context.Context, f func(*state)) error {
	return retry(ctx, func(ctx context.Context) error {
		if err := r.fresh(ctx); err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.state == nil {
			return errReloaded
		}
		f(r.state)
		return nil
	})
}

func (res result) clone() result {
	for i := range res.update.Ended {
		res.update.Ended[i].Session = cloneSession(res.update.Ended[i].Session)
	}
	for i := range res.update.Facts {
		res.update.Facts[i] = cloneFact(res.update.Facts[i])
	}
	for i := range res.debts {
		res.debts[i].Session = cloneSession(res.debts[i].Session)
	}
	return res
}
