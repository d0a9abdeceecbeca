package natstest

import "syscall"

// attributes makes a server end with the test that started it, however that ends.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
