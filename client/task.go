package client

import "sync"

// task is a goroutine that calls the caller's code, and what waits for it. It can be stopped from within that code.
type task struct {
	mu      sync.Mutex // guards what follows; not held while the caller's code runs
	change  sync.Cond
	stopped bool
	calling bool
	done    bool
}

func newTask() *task {
	t := &task{}
	t.change.L = &t.mu
	return t
}

// call runs f, unless the task was stopped.
func (t *task) call(f func()) {
	if !t.set(&t.calling, true) {
		return
	}
	defer t.set(&t.calling, false)
	f()
}

// finish is the last thing that the goroutine does.
func (t *task) finish() { t.set(&t.done, true) }

func (t *task) set(what *bool, value bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped && what == &t.calling && value {
		return false
	}
	*what = value
	t.change.Broadcast()
	return true
}

// stop makes call do nothing from now on, and waits for the goroutine to end or to be in a call: it may be the one that
// asks.
func (t *task) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	for !t.done && !t.calling {
		t.change.Wait()
	}
}
