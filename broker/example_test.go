package broker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

// listen prints the types and data of the first n events of a stream.
func listen(url string, n int) (done func()) {
	resp, err := http.Get(url)
	if err != nil {
		fmt.Println(err)
		return func() {}
	}
	return func() {
		defer resp.Body.Close()
		for lines := bufio.NewScanner(resp.Body); n > 0 && lines.Scan(); {
			if line := lines.Text(); strings.HasPrefix(line, "event:") {
				fmt.Println(line)
			} else if strings.HasPrefix(line, "data:") {
				fmt.Println(line)
				n--
			}
		}
	}
}

func Example() {
	b := broker.NewBroker(nil) // one node; with broker.WithBackplane(bus), one of many
	defer b.Close()

	mux := http.NewServeMux()
	mux.Handle("GET /events", b.Handler(func(r *http.Request) (broker.Client, error) {
		user := r.FormValue("user") // yours: a session, a token
		if user == "" {
			return broker.Client{}, errors.New("who are you?") // answers 401
		}
		return broker.Client{ID: user, Topics: []string{"team:blue"}}, nil
	}))
	server := httptest.NewServer(mux)
	defer server.Close()

	ann := listen(server.URL+"/events?user=ann", 3)
	b.Broadcast(sse.StringEvent{Event: "notice", Data: "maintenance at noon"})
	b.Send("ann", &sse.JsonEvent{Event: "message", Data: map[string]string{"from": "joe"}})
	b.Publish(context.Background(), broker.Topics("team:blue"), sse.StringEvent{Data: "goal!"})
	ann()
	// Output:
	// event: notice
	// data: maintenance at noon
	// event: message
	// data: {"from":"joe"}
	// data: goal!
}

// Two replicas of a service. In this process they share a bus in memory; in
// yours it is that of redisbus.New or natsbus.New.
func ExampleWithBackplane() {
	bus := backplane.NewMemory()
	one := broker.NewBroker(nil, broker.WithBackplane(bus), broker.WithNodeName("one"))
	defer one.Close()
	two := broker.NewBroker(nil, broker.WithBackplane(bus), broker.WithNodeName("two"))
	defer two.Close()

	server := httptest.NewServer(one.Handler(func(*http.Request) (broker.Client, error) {
		return broker.Client{ID: "ann"}, nil
	}))
	defer server.Close()

	ann := listen(server.URL, 1)
	if err := two.Send("ann", sse.StringEvent{Data: "hello from the other replica"}); err != nil {
		fmt.Println(err)
	}
	sessions, _ := two.Sessions(context.Background(), "ann")
	fmt.Println("connected to", sessions[0].NodeName)
	ann()
	// Output:
	// connected to one
	// data: hello from the other replica
}

// Connect leaves the handler to the application.
func ExampleBroker_Connect() {
	b := broker.NewBroker(map[string]string{"Access-Control-Allow-Origin": "*"})
	defer b.Close()

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := b.Connect("ann", w, r, broker.FollowTopics("news"))
		if err != nil {
			return // the request has been answered
		}
		conn.Send(sse.StringEvent{Data: "for this connection alone"})
		<-conn.Done()
	}))
	defer server.Close()

	listen(server.URL, 1)()
	// Output:
	// data: for this connection alone
}

// A send to somebody who is not there.
func ExampleBroker_Send() {
	b := broker.NewBroker(nil)
	defer b.Close()

	err := b.Send("nobody", sse.StringEvent{Data: "hello"})
	var unknown *broker.UnknownClientError
	fmt.Println(errors.As(err, &unknown))
	// Output:
	// true
}

// A publish that is tried again counts once, from whichever node.
func ExampleIdempotencyKey() {
	b := broker.NewBroker(nil)
	defer b.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	first, _ := b.Publish(ctx, broker.Everyone(), sse.StringEvent{Data: "order 7 shipped"}, broker.IdempotencyKey("order-7"))
	again, err := b.Publish(ctx, broker.Everyone(), sse.StringEvent{Data: "order 7 shipped"}, broker.IdempotencyKey("order-7"))
	fmt.Println(first == again, err)
	// Output:
	// true <nil>
}

// State first, then the events behind it: nothing falls between.
func ExampleBroker_Position() {
	b := broker.NewBroker(nil)
	defer b.Close()
	ctx := context.Background()

	position, _ := b.Position(ctx)
	state := "the state as of now" // read from a database, say
	b.Broadcast(sse.StringEvent{Data: "a change meanwhile"})

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = b.Serve(w, r, broker.Client{ID: "ann"}, broker.SincePosition(position))
	}))
	defer server.Close()
	fmt.Println(state)
	listen(server.URL, 1)()
	// Output:
	// the state as of now
	// data: a change meanwhile
}

// Rooms that clients are put into and taken out of, on whichever node they are.
func ExampleBroker_Join() {
	b := broker.NewBroker(nil)
	defer b.Close()
	server := httptest.NewServer(b.Handler(func(*http.Request) (broker.Client, error) {
		return broker.Client{ID: "ann"}, nil
	}))
	defer server.Close()
	ctx := context.Background()

	ann := listen(server.URL, 1)
	if err := b.Join(ctx, "ann", "room 1"); err != nil {
		fmt.Println(err)
	}
	b.Publish(ctx, broker.Topics("room 1"), sse.StringEvent{Event: "said", Data: "welcome"})
	ann()
	// Output:
	// event: said
	// data: welcome
}

// A server that drains its streams when it is shut down.
func ExampleBroker_Shutdown() {
	b := broker.NewBroker(nil)
	server := &http.Server{Handler: b.Handler(func(*http.Request) (broker.Client, error) {
		return broker.Client{ID: "ann"}, nil
	})}
	drained := make(chan error, 1)
	server.RegisterOnShutdown(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		drained <- b.Shutdown(ctx)
	})

	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	fmt.Println(server.Shutdown(ctx), <-drained)
	// Output:
	// <nil> <nil>
}
