// Package natstest runs real nats-servers for tests, alone or as a cluster whose
// connections can be cut and stalled.
package natstest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Binary returns the nats-server to run: NATS_SERVER, else what scripts/nats-server
// has built, else the one in PATH. It fails the test where there is none.
func Binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("NATS_SERVER"); path != "" {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("NATS_SERVER: %v", err)
		}
		return path
	}
	if dir, err := os.Getwd(); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			path := filepath.Join(dir, ".tools", "bin", "nats-server")
			if _, err := os.Stat(path); err == nil {
				return path
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	path, err := exec.LookPath("nats-server")
	if err != nil {
		t.Fatal("no nats-server: run scripts/nats-server, which builds it into .tools/bin, or set NATS_SERVER")
	}
	return path
}

// Server is one nats-server.
type Server struct {
	Name string
	Dir  string // its store

	t    testing.TB
	bin  string
	conf string
	port int
	// FileLimit, unless it is 0, is how large a file the process may write, in
	// KiB, the next time that it is run: to it the device is full.
	FileLimit int
	log       lockedBuffer

	mu      sync.Mutex
	process *exec.Cmd
	exited  chan struct{}
}

// lockedBuffer takes a server's output.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// tail returns the end of it.
func (l *lockedBuffer) tail() string {
	all := l.String()
	return all[max(0, len(all)-4096):]
}

// Start runs a server of its own. Lines of extra go into its configuration.
func Start(t testing.TB, extra ...string) *Server {
	t.Helper()
	s := newServer(t, "single", freePorts(t, 1)[0])
	s.configure(strings.Join(extra, "\n"))
	s.Run()
	s.Await()
	return s
}

// StartPlain runs a server without JetStream.
func StartPlain(t testing.TB) *Server {
	t.Helper()
	s := newServer(t, "plain", freePorts(t, 1)[0])
	if err := os.WriteFile(s.conf, fmt.Appendf(nil, "listen: 127.0.0.1:%d\n", s.port), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Run()
	s.Await()
	return s
}

func newServer(t testing.TB, name string, port int) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{Name: name, Dir: filepath.Join(dir, "store"), t: t, bin: Binary(t), conf: filepath.Join(dir, "server.conf"), port: port}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() && os.Getenv("NATSTEST_LOG") != "" {
			t.Logf("server %s:\n%s", s.Name, s.log.String())
		}
	})
	return s
}

func (s *Server) configure(extra string) {
	s.t.Helper()
	conf := fmt.Sprintf("server_name: %s\nlisten: 127.0.0.1:%d\njetstream { store_dir: %q, max_mem: 100G, max_file: 100G }\n%s\n",
		s.Name, s.port, s.Dir, extra)
	if err := os.WriteFile(s.conf, []byte(conf), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// Run starts the server's process. It does not wait until it answers.
func (s *Server) Run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	cmd := exec.Command(s.bin, "-c", s.conf)
	if s.FileLimit > 0 {
		// 512 bytes is the unit of ulimit -f in a POSIX shell.
		cmd = exec.Command("/bin/sh", "-c", `ulimit -f "$1" && shift && exec "$@"`, "sh", fmt.Sprint(2*s.FileLimit), s.bin, "-c", s.conf)
	}
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		s.t.Errorf("start %s: %v", s.bin, err)
		return
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		err := cmd.Wait()
		s.mu.Lock()
		itself := s.process == cmd // nobody has asked for it
		s.mu.Unlock()
		if itself {
			s.t.Errorf("server %s has ended by itself: %v\n%s", s.Name, err, s.log.tail())
		}
	}()
	s.process, s.exited = cmd, exited
}

// Await waits until the server accepts connections.
func (s *Server) Await() {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		nc, err := nats.Connect(s.URL(), nats.Timeout(time.Second))
		if err == nil {
			nc.Close()
		}
		if err == nil || errors.Is(err, nats.ErrAuthorization) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("server %s does not answer: %v\n%s", s.Name, err, s.log.tail())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Signal sends the process a signal.
func (s *Server) Signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		if err := s.process.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			s.t.Errorf("signal %v to %s: %v", sig, s.Name, err)
		}
	}
}

// Pause stops the process where it is; Resume lets it go on.
func (s *Server) Pause()  { s.Signal(syscall.SIGSTOP) }
func (s *Server) Resume() { s.Signal(syscall.SIGCONT) }

// Kill ends the process at once and waits for its end.
func (s *Server) Kill() { s.stop(syscall.SIGKILL) }

// Stop asks the process to end, and waits for that.
func (s *Server) Stop() { s.stop(syscall.SIGTERM) }

func (s *Server) stop(sig syscall.Signal) {
	s.mu.Lock()
	process, exited := s.process, s.exited
	s.process = nil
	s.mu.Unlock()
	if process == nil {
		return
	}
	_ = process.Process.Signal(sig)
	_ = process.Process.Signal(syscall.SIGCONT)
	<-exited
}

// Restart kills the server, and runs it again with the same store.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.Run()
	s.Await()
}

// URL returns where clients connect.
func (s *Server) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.port) }

// Addr returns the host and port of URL.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// freePorts returns n ports that nobody listens on. They are none of those that
// systems give to outgoing connections, which begin at 32768 or later: one of them
// might take a port before the server does, or while the server is down.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range 1000 {
		port := 10_000 + rand.IntN(22_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer l.Close() // when all are found, so that they differ
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatalf("no %d ports are free", n)
	return nil
}

// Connect makes a connection, closed at the end of the test.
func Connect(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond), nats.DontRandomize()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// JetStream makes a connection, and a context on it.
func JetStream(t testing.TB, url string, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(Connect(t, url, opts...))
	if err != nil {
		t.Fatal(err)
	}
	return js
}
