// Package redistest runs real servers for the tests of redisbus: single ones,
// Sentinels, Clusters, and a link that can be cut. Everything listens on
// loopback, lives in temporary folders, and ends with its test.
package redistest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// Versions are the servers that scripts/redis-servers fetches.
var Versions = []string{"redis-7.0", "redis-8.0", "valkey-8.1"}

// patience is how long a server or a failover may take.
const patience = 30 * time.Second

// Quiet stops go-redis from logging the faults that tests make.
func Quiet() { logging.Disable() }

// Binary returns the path of a server program.
func Binary(t testing.TB, version string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the tests")
		}
		dir = parent
	}
	path := filepath.Join(dir, ".tools", "redis", version)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("there is no %s for the tests: run scripts/redis-servers first", version)
	}
	return path
}

// Server is one process.
type Server struct {
	Addr string
	Port int

	t       testing.TB
	binary  string
	dir     string
	args    []string
	env     []string
	mu      sync.Mutex
	process *exec.Cmd
}

// Option changes how a server is started.
type Option func(*Server)

// Args adds arguments, "--name value".
func Args(args ...string) Option {
	return func(s *Server) { s.args = append(s.args, args...) }
}

// Env adds variables, "NAME=value", to the server's environment.
func Env(env ...string) Option {
	return func(s *Server) { s.env = append(s.env, env...) }
}

// Clock shifts the server's wall clock.
func Clock(by time.Duration) Option {
	return Env(fmt.Sprintf("CLOCK_SHIFT=%d", int(by.Seconds())))
}

// Start starts a server and waits until it answers.
func Start(t testing.TB, version string, options ...Option) *Server {
	t.Helper()
	s := &Server{t: t, binary: Binary(t, version), dir: t.TempDir()}
	s.Port = freePort(t)
	s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
	s.args = []string{
		"--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "",
		"--appendonly", "no", "--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes",
		"--logfile", filepath.Join(s.dir, "log"),
	}
	for _, o := range options {
		o(s)
	}
	t.Cleanup(s.Kill)
	s.Launch()
	return s
}

// Launch starts the process (again) and waits until it answers.
func (s *Server) Launch() {
	s.t.Helper()
	cmd := exec.Command(s.binary, s.args...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Dir = s.dir
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("start %s: %v", s.binary, err)
	}
	s.mu.Lock()
	s.process = cmd
	s.mu.Unlock()
	c := s.Client()
	defer c.Close()
	Eventually(s.t, "the server answers", func() error { return c.Ping(context.Background()).Err() })
}

// Kill kills the process, paused or not, and waits for its end.
func (s *Server) Kill() {
	s.mu.Lock()
	cmd := s.process
	s.process = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // its error is the signal
}

// Pause stops the process as it is; Resume lets it go on.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		_ = s.process.Process.Signal(sig)
	}
}

// Client returns a client of the server, for the test's own use. The caller closes it.
func (s *Server) Client() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: s.Addr, DialTimeout: time.Second, ReadTimeout: 5 * time.Second, MaxRetries: -1, DialerRetries: 1,
		DisableIdentity: true,
	})
}

// Do runs one command.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	c := s.Client()
	defer c.Close()
	reply, err := c.Do(context.Background(), args...).Result()
	if err != nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return reply
}

// Info returns a value of INFO.
func (s *Server) Info(name string) string {
	c := s.Client()
	defer c.Close()
	text, err := c.Info(context.Background(), "all").Result()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && key == name {
			return value
		}
	}
	return ""
}

// Dir is where the server keeps its data.
func (s *Server) Dir() string { return s.dir }

// PrintLog copies the server's log to w.
func (s *Server) PrintLog(w io.Writer) {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	_, _ = w.Write(text)
}

// Eventually asks until there is no error.
func Eventually(t testing.TB, what string, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s: %v", patience, what, err)
		}
		time.Sleep(10 * time.Millisecond) // between questions
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	// Not from the range that the system gives to clients, where a port could be
	// taken again before the server binds it.
	for range 1000 {
		port := nextPort()
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

var ports struct {
	sync.Mutex
	next int
}

// nextPort goes through 11000 to 31000, from a place of this process's own.
func nextPort() int {
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = 11000 + os.Getpid()*53%20000
	}
	ports.next++
	if ports.next >= 31000 {
		ports.next = 11000
	}
	return ports.next
}

func must(t testing.TB, err error, format string, args ...any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}
