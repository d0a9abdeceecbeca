package main

import (
	"net/http"
	"strings"
)

// control is the part of the demo that is above the replicas: it stops and starts
// them. Everything else goes to the proxy.
type control struct {
	slots []*slot
	own   router
	proxy http.Handler
}

func newControl(slots []*slot, proxy http.Handler) http.Handler {
	c := &control{slots: slots, proxy: proxy}
	servePage(&c.own)
	c.own.on("GET /demo/replicas", c.list)
	c.own.on("POST /demo/replicas/*/stop", c.act((*slot).stop))
	c.own.on("POST /demo/replicas/*/kill", c.act((*slot).crash))
	c.own.on("POST /demo/replicas/*/start", c.act((*slot).start))
	return c
}

func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if strings.HasPrefix(path, "/demo/") || c.isPage(path) {
		c.own.ServeHTTP(w, r)
		return
	}
	c.proxy.ServeHTTP(w, r)
}

// isPage reports whether the path is one of the page's files, which are there even
// when no replica is.
func (c *control) isPage(path string) bool {
	for _, route := range c.own {
		if strings.Join(route.path, "/") == path {
			return true
		}
	}
	return false
}

func (c *control) list(w http.ResponseWriter, _ *http.Request, _ []string) error {
	all := make([]slotInfo, len(c.slots))
	for i, s := range c.slots {
		all[i] = s.info()
	}
	answer(w, http.StatusOK, all)
	return nil
}

func (c *control) act(do func(*slot) error) handler {
	return func(w http.ResponseWriter, r *http.Request, names []string) error {
		for _, s := range c.slots {
			if s.name == names[0] {
				if err := do(s); err != nil {
					return err
				}
				answer(w, http.StatusOK, s.info())
				return nil
			}
		}
		return refuse(http.StatusNotFound, "there is no replica %q", names[0])
	}
}
