package natstest

import (
	"fmt"
	"os"
	"syscall"
)

// attributes makes a server end with the test that started it, however that ends.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// Mount makes the server's store a file system of that many bytes, which is empty. It
// skips the test where that is not allowed.
func (s *Server) Mount(bytes int) {
	s.t.Helper()
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", s.Dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		s.t.Skipf("mount: %v", err)
	}
	s.t.Cleanup(func() {
		s.Kill()
		if err := syscall.Unmount(s.Dir, 0); err != nil {
			s.t.Errorf("unmount: %v", err)
		}
	})
}
