package main

import (
	"net/http"

	"github.com/sseplane/sseplane/broker"
)

// api is the HTTP interface of a replica.
type api struct {
	node   string
	broker *broker.Broker
	gone   *disconnects
}

func newAPI(node string, b *broker.Broker, gone *disconnects) http.Handler {
	a := &api{node: node, broker: b, gone: gone}
	var rt router
	rt.on("GET /events", a.events)
	rt.on("POST /broadcast", a.broadcast)
	rt.on("POST /send/*", a.send)
	rt.on("POST /publish/*", a.publish)
	rt.on("GET /presence", a.presence)
	rt.on("GET /presence/*", a.presenceOf)
	rt.on("PUT /metadata/*", a.setMetadata)
	rt.on("POST /join/*/*", a.join)
	rt.on("POST /leave/*/*", a.leave)
	rt.on("POST /disconnect/*", a.disconnect)
	rt.on("GET /disconnects", a.disconnects)
	rt.on("GET /healthz", a.healthy)
	rt.on("GET /readyz", a.ready)
	rt.on("GET /stats", a.stats)
	servePage(&rt)
	return sameOrigin(rt)
}

// sameOrigin keeps the pages of other sites from posting here with their visitors'
// browsers.
func sameOrigin(h http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, refuse(http.StatusForbidden, "this comes from a page of another origin"))
	}))
	return protection.Handler(h)
}
