package main

import (
	"crypto/rand"
	"net/http"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

// maxTopics is how many topics one connection may name.
const maxTopics = 1000

// hello is what a stream that asks for it begins with: browsers do not let a page
// read the headers of an EventSource.
type hello struct {
	Client  string `json:"client"`
	Session string `json:"session"`
	Node    string `json:"node"`
}

func (a *api) events(w http.ResponseWriter, r *http.Request, _ []string) error {
	query := r.URL.Query()
	client := "anonymous-" + rand.Text()[:10]
	if query.Has("client") {
		client = query.Get("client")
	}
	if err := backplane.ValidName(client); err != nil {
		return refuse(http.StatusBadRequest, "the client's name is invalid: %v", err)
	}
	topics := query["topic"]
	if len(topics) > maxTopics {
		return refuse(http.StatusBadRequest, "a connection follows at most %d topics", maxTopics)
	}
	for _, topic := range topics {
		if err := backplane.ValidName(topic); err != nil {
			return refuse(http.StatusBadRequest, "a topic's name is invalid: %v", err)
		}
	}
	conn, err := a.broker.Connect(client, w, r, broker.FollowTopics(topics...))
	if err != nil {
		return nil // Connect has answered
	}
	if query.Has("hello") {
		_ = conn.Send(&sse.JsonEvent{Event: "hello", Data: hello{client, conn.SessionId(), a.node}})
	}
	<-conn.Done()
	return nil
}
