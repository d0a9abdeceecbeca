//go:build !linux

package natstest

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }

// Mount is there for Linux only.
func (s *Server) Mount(int) { s.t.Skip("no mounts here") }
