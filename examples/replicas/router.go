package main

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// handler answers a request, or returns why it can not; names are those in its path.
type handler func(w http.ResponseWriter, r *http.Request, names []string) error

// router finds the handler of a request by its path as it was sent, segment by
// segment, so that a name can be anything once it is percent-encoded: empty, "..",
// or full of slashes. (http.ServeMux redirects some of these.)
type router []route

type route struct {
	method string
	path   []string // "*" stands for a name
	handle handler
}

// on adds a route such as "POST /join/*/*".
func (rt *router) on(pattern string, h handler) {
	method, path, _ := strings.Cut(pattern, " ")
	*rt = append(*rt, route{method, strings.Split(path, "/"), h})
}

func (rt router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(r.URL.EscapedPath(), "/")
	var allowed []string
	for _, route := range rt {
		names, ok := route.match(path)
		if !ok {
			continue
		}
		if route.method == r.Method || route.method == http.MethodGet && r.Method == http.MethodHead {
			if err := route.handle(w, r, names); err != nil {
				fail(w, err)
			}
			return
		}
		allowed = append(allowed, route.method)
	}
	if len(allowed) > 0 {
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		fail(w, refuse(http.StatusMethodNotAllowed, "%s does not work here, only %s", r.Method, strings.Join(allowed, ", ")))
		return
	}
	fail(w, refuse(http.StatusNotFound, "there is nothing at %s", r.URL.EscapedPath()))
}

func (rt route) match(path []string) (names []string, ok bool) {
	if len(path) != len(rt.path) {
		return nil, false
	}
	for i, segment := range rt.path {
		if segment != "*" {
			if segment != path[i] {
				return nil, false
			}
			continue
		}
		name, err := url.PathUnescape(path[i])
		if err != nil {
			return nil, false
		}
		names = append(names, name)
	}
	return names, true
}
