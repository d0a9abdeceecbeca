package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

// exampleServer sends two events, one at a connection, and then ends the stream for good.
func exampleServer() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", sse.ContentType)
		enc := sse.NewEncoder(w)
		switch r.Header.Get("Last-Event-ID") {
		case "":
			enc.Encode(sse.Message{ID: "1", Data: "hello", Retry: time.Millisecond})
		case "1":
			enc.Encode(sse.StringEvent{Id: "2", Event: "notice", Data: "welcome back"})
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}))
}

func ExampleOpen() {
	server := exampleServer()
	defer server.Close()

	stream, err := client.Open(context.Background(), server.URL, client.WithIdleTimeout(45*time.Second))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stream.Close()
	for event, err := range stream.Events() {
		if err != nil {
			fmt.Println("ended:", err)
			return
		}
		switch e := event.(type) {
		case client.Reset:
			fmt.Println("events are missing:", e.Reason)
		default:
			fmt.Printf("id %q type %q data %q\n", e.GetId(), e.GetEvent(), e.GetData())
		}
	}
	// Output:
	// id "1" type "" data "hello"
	// id "2" type "notice" data "welcome back"
	// ended: client: the server ended the stream (204 No Content)
}

func ExampleStream_Handle() {
	server := exampleServer()
	defer server.Close()

	stream, err := client.Open(context.Background(), server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stream.Close()
	notices := make(chan string)
	stop, err := stream.Handle("notice", func(e sse.Event) { notices <- e.GetData() })
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	fmt.Println(<-notices)
	// Output: welcome back
}

func ExampleConnectWithSSEFeed() {
	server := exampleServer()
	defer server.Close()

	feed, err := client.ConnectWithSSEFeed(server.URL, map[string][]string{"Authorization": {"Bearer token"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer feed.Close()
	sub, err := feed.Subscribe("message")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sub.Close()
	for {
		select {
		case evt := <-sub.Feed():
			fmt.Println(evt.GetData())
		case err := <-sub.ErrFeed():
			fmt.Println("ended:", err)
			return
		}
	}
	// Output:
	// hello
	// ended: client: the server ended the stream (204 No Content)
}
