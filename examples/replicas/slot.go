package main

import (
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

// slotState is what a slot is doing.
type slotState string

const (
	running  slotState = "running"
	draining slotState = "draining"
	stopped  slotState = "stopped"
	killed   slotState = "killed"
	closed   slotState = "closed" // for good
)

// slot is a place for a replica: a name and an address, where one runs or none.
type slot struct {
	name   string
	cfg    config
	bus    backplane.Backplane
	logger *slog.Logger
	tasks  sync.WaitGroup // replicas that are ending

	mu      sync.Mutex // guards the rest
	addr    string     // as asked for; then as it was given
	state   slotState
	starts  int
	replica *replica // nil unless running or draining
}

func newSlot(name, addr string, cfg config, bus backplane.Backplane, logger *slog.Logger) *slot {
	return &slot{name: name, addr: addr, cfg: cfg, bus: bus, logger: logger, state: stopped}
}

// start starts a new replica, at the same address as the last one.
func (s *slot) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replica != nil || s.state == closed {
		return s.conflict()
	}
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	r, err := startReplica(s.name, ln, s.cfg, s.bus, s.logger)
	if err != nil {
		return err
	}
	s.addr, s.replica, s.state = r.addr, r, running
	s.starts++
	return nil
}

// stop drains the replica. It does not wait for the end of that.
func (s *slot) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != running {
		return s.conflict()
	}
	s.state = draining
	r := s.replica
	s.tasks.Go(func() {
		if err := r.drain(s.cfg.drain); err != nil {
			s.logger.Warn("draining", "error", err)
		}
		s.ended(r, stopped)
	})
	return nil
}

// crash kills the replica: its connections are broken when crash returns.
func (s *slot) crash() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replica == nil {
		return s.conflict()
	}
	r := s.replica
	s.replica, s.state = nil, killed
	r.bus.kill()
	_ = r.server.Close()
	s.tasks.Go(r.die)
	return nil
}

// close drains what is running, and lets nothing start again.
func (s *slot) close(within time.Duration) (err error) {
	s.mu.Lock()
	r, state := s.replica, s.state
	s.state = closed
	s.mu.Unlock()
	if state == running {
		err = r.drain(within)
		s.ended(r, closed)
	}
	s.tasks.Wait()
	return err
}

func (s *slot) ended(r *replica, state slotState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replica != r {
		return // it has been killed meanwhile
	}
	s.replica = nil
	if s.state != closed {
		s.state = state
	}
}

func (s *slot) conflict() error {
	return refuse(http.StatusConflict, "replica %s is %s", s.name, s.state)
}

// running returns the replica if it is running and not draining.
func (s *slot) running() *replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != running {
		return nil
	}
	return s.replica
}

// slotInfo is what the page shows of a slot.
type slotInfo struct {
	Name     string    `json:"name"`
	Address  string    `json:"address"`
	State    slotState `json:"state"`
	Ready    bool      `json:"ready"`
	Healthy  bool      `json:"healthy"`
	Starts   int       `json:"starts"`
	Sessions int       `json:"sessions"`
}

func (s *slot) info() slotInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slotInfo{Name: s.name, Address: webAddress(s.addr), State: s.state, Starts: s.starts}
	if r := s.replica; r != nil {
		i.Ready = s.state == running && r.ready()
		i.Healthy = r.broker.Healthy() == nil
		i.Sessions = r.broker.Stats().Sessions
	}
	return i
}
