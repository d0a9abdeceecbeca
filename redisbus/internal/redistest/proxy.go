package redistest

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP link to a server that can be cut, stalled, and made to lose replies.
type Proxy struct {
	Addr string

	t        testing.TB
	listener net.Listener
	work     sync.WaitGroup

	// mu guards what follows; changed is told of each change.
	mu      sync.Mutex
	changed *sync.Cond
	target  string
	links   map[*link]struct{}
	refuse  bool
	closed  bool
	lose    int // how many replies are still to be lost
}

// link is one connection through a proxy. Its flags are guarded by the proxy's mu.
type link struct {
	client, server net.Conn
	up, down       bool // stalled: nothing goes up to the server, or down from it
}

// NewProxy starts a link to an address.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err, "listen")
	p := &Proxy{Addr: l.Addr().String(), t: t, listener: l, target: target, links: make(map[*link]struct{})}
	p.changed = sync.NewCond(&p.mu)
	p.work.Go(p.accept)
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		_ = l.Close()
		p.Cut()
		p.work.Wait()
	})
	return p
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.mu.Lock()
		target, refuse := p.target, p.refuse || p.closed
		p.mu.Unlock()
		if refuse {
			_ = client.Close()
			continue
		}
		server, err := net.DialTimeout("tcp", target, time.Second)
		if err != nil {
			_ = client.Close()
			continue
		}
		l := &link{client: client, server: server}
		p.mu.Lock()
		if p.closed || p.refuse {
			p.mu.Unlock()
			l.close()
			continue
		}
		p.links[l] = struct{}{}
		p.mu.Unlock()
		p.work.Go(func() { p.copy(l, server, client, true) })
		p.work.Go(func() { p.copy(l, client, server, false) })
	}
}

// copy moves what comes from one end to the other; up is towards the server.
func (p *Proxy) copy(l *link, to, from net.Conn, up bool) {
	defer func() {
		p.mu.Lock()
		delete(p.links, l)
		p.changed.Broadcast()
		p.mu.Unlock()
		l.close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		for _, open := p.links[l]; open && (up && l.up || !up && l.down); _, open = p.links[l] {
			p.changed.Wait()
		}
		_, open := p.links[l]
		lost := open && !up && n > 0 && p.lose > 0
		if lost {
			p.lose--
		}
		p.mu.Unlock()
		if lost || !open {
			return // the connection dies with the reply that it was to carry
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// Cut closes all connections. New ones work, unless Refuse says otherwise.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		delete(p.links, l)
		l.close()
	}
	p.changed.Broadcast()
}

// Refuse closes new connections at once, or no longer.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// To makes new connections go to another address.
func (p *Proxy) To(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Stall holds back what goes up to the server and what comes down from it, on the connections
// that there are; new ones work. The connections stay open.
func (p *Proxy) Stall(up, down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.up, l.down = up, down
	}
	p.changed.Broadcast()
}

// LoseReplies drops the next n replies and closes the connection of each.
func (p *Proxy) LoseReplies(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = n
}

// Losing returns how many replies are still to be lost.
func (p *Proxy) Losing() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lose
}

// Connections returns how many connections go through.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}
