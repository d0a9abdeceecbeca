package broker_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sseplane/sseplane/broker"
)

// lateWriter holds back what is written until the gate is open.
type lateWriter struct {
	w    http.ResponseWriter
	gate chan struct{}
}

func (l lateWriter) Header() http.Header    { return l.w.Header() }
func (l lateWriter) WriteHeader(status int) { l.w.WriteHeader(status) }
func (l lateWriter) Flush()                 {}

func (l lateWriter) Write(p []byte) (int, error) {
	<-l.gate
	return l.w.Write(p)
}

const tooEarly = "the HTTP handler returned before ClientConnection.Done was closed"

// A handler that returns while its connection is served has done wrong, and its author
// hears of it, once.
func TestHandlerThatReturnsTooEarly(t *testing.T) {
	pipes(t, func(t *testing.T, two bool) {
		book := new(logbook)
		b := start(t, broker.WithLogger(book.logger()))
		conns, gates := make(chan *broker.ClientConnection, 1), make(chan chan struct{}, 1)
		client := pipeServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			gate := make(chan struct{})
			conn, err := b.Connect("joe", lateWriter{w, gate}, r)
			if err != nil {
				t.Error(err)
			}
			conns <- conn
			gates <- gate
		}), two)
		for range 3 {
			resp, err := client.Get("http://pipe/")
			must(t, err)
			_, _ = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			synctest.Wait() // the server is done with the request
			close(<-gates)
			<-(<-conns).Done()
			synctest.Wait()
		}
		if n := strings.Count(book.text(), tooEarly); n != 1 {
			t.Errorf("logged %d times: %s", n, book.text())
		}
	})
}

// Other ends are not taken for that.
func TestHandlerThatWaits(t *testing.T) {
	for failure, want := range map[error]bool{
		errBroken:             false,
		http.ErrContentLength: true,
		fmt.Errorf("middleware: %w", http.ErrContentLength):             true,
		errors.New("http2: request body closed due to handler exiting"): true,
	} {
		bubble(t, func(t *testing.T) {
			book := new(logbook)
			b := start(t, broker.WithLogger(book.logger()))
			connect(t, b, "ann").leave()
			r := connect(t, b, "joe")
			synctest.Wait()
			r.change(func() { r.failure = failure })
			must(t, b.Broadcast(text("x")))
			r.wait()
			synctest.Wait()
			if book.contains(tooEarly) != want {
				t.Errorf("%v: logged %q", failure, book.text())
			}
		})
	}
}
