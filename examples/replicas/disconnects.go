package main

import (
	"sync"
)

// disconnect is one call of the disconnect callback.
type disconnect struct {
	Client  string `json:"client"`
	Session string `json:"session"`
}

// disconnects keeps all calls of the callback since the replica started: an example
// can afford it, a service should not.
type disconnects struct {
	mu  sync.Mutex // guards all
	all []disconnect
}

func (d *disconnects) add(client, session string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, disconnect{client, session})
}

func (d *disconnects) list() []disconnect {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]disconnect{}, d.all...) // never null in JSON
}
