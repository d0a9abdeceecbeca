// Command hello is the thirty lines of the README as a program: a service that
// streams to its users.
//
//	go run ./examples/hello
//	curl -N 'localhost:8080/events?user=ann&team=blue'
//	curl -d 'hi there' 'localhost:8080/say?to=ann'
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

//go:embed page.html
var page []byte

// newHandler is the whole service.
func newHandler(b *broker.Broker) http.Handler {
	mux := http.NewServeMux()

	// Streams. Who it is that connects is the application's to say.
	mux.Handle("GET /events", b.Handler(func(r *http.Request) (broker.Client, error) {
		user, team := r.FormValue("user"), r.FormValue("team")
		if user == "" {
			return broker.Client{}, errors.New("who are you?") // answers 401
		}
		c := broker.Client{ID: user}
		if team != "" {
			c.Topics = []string{"team:" + team}
		}
		return c, nil
	}))

	// Events: to one user, to a team, or to everybody.
	mux.HandleFunc("POST /say", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		event := &sse.JsonEvent{Event: "said", Data: map[string]string{"text": string(text)}}
		query := r.URL.Query()
		switch {
		case query.Has("to"):
			err = b.Send(query.Get("to"), event)
		case query.Has("team"):
			_, err = b.Publish(r.Context(), broker.Topics("team:"+query.Get("team")), event)
		default:
			err = b.Broadcast(event)
		}
		var unknown *broker.UnknownClientError
		switch {
		case errors.As(err, &unknown):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})

	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })
	return mux
}

func main() {
	listen := flag.String("listen", "localhost:8080", "`address` to serve at")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	b := broker.NewBroker(nil) // one node; more of them with broker.WithBackplane
	server := &http.Server{Addr: *listen, Handler: newHandler(b), ReadHeaderTimeout: 5 * time.Second}

	go func() {
		log.Printf("open http://%s in a browser, in several windows", *listen)
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	<-ctx.Done()

	// Streams do not end by themselves: the broker ends them when the server shuts down.
	ending, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	server.RegisterOnShutdown(func() { _ = b.Shutdown(ending) })
	if err := errors.Join(server.Shutdown(ending), b.Close()); err != nil {
		log.Fatal(err)
	}
}
