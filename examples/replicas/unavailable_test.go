package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/broker"
)

// absent is a bus that nobody can reach.
type absent struct{}

func (absent) Open(context.Context, backplane.Config) (backplane.Log, error) {
	return nil, errors.New("there is no bus")
}

// ask sends a request straight to a handler, and says how long it took.
func ask(h http.Handler, method, path, body string) (*httptest.ResponseRecorder, time.Duration) {
	answer := httptest.NewRecorder()
	began := time.Now()
	h.ServeHTTP(answer, httptest.NewRequest(method, path, strings.NewReader(body)))
	return answer, time.Since(began)
}

// TestNeverReached: a replica that has never reached the bus.
func TestNeverReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.NewBroker(nil, broker.WithBackplane(absent{}), broker.WithRetry(retry, 0))
		defer b.Close()
		h := newAPI("solo", b, new(disconnects))
		if answer, _ := ask(h, "GET", "/events?client=joe", ""); answer.Code != http.StatusOK || answer.Body.String() != "retry: 250\n\n" {
			t.Errorf("a stream: %d, %q", answer.Code, answer.Body)
		}
		for _, path := range []string{"/broadcast", "/publish/x", "/send/joe"} {
			answer, took := ask(h, "POST", path, "x")
			if answer.Code != http.StatusServiceUnavailable || took != patience {
				t.Errorf("%s: %d after %v, want 503 after %v", path, answer.Code, took, patience)
			}
		}
		for _, path := range []string{"/healthz", "/readyz"} {
			if answer, took := ask(h, "GET", path, ""); answer.Code != http.StatusServiceUnavailable || took != 0 {
				t.Errorf("%s: %d after %v", path, answer.Code, took)
			}
		}
	})
}

// TestCutOff: a replica that loses the bus is still ready, says that it is not healthy, and
// refuses what it can not do.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := newMortal(backplane.NewMemory())
		b := broker.NewBroker(nil, broker.WithBackplane(bus))
		defer b.Close()
		h := newAPI("solo", b, new(disconnects))
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if answer, _ := ask(h, "GET", "/healthz", ""); answer.Code != http.StatusOK {
			t.Errorf("healthz: %d, %s", answer.Code, answer.Body)
		}
		bus.kill()
		synctest.Wait()
		for path, want := range map[string]int{"/healthz": http.StatusServiceUnavailable, "/readyz": http.StatusOK} {
			if answer, _ := ask(h, "GET", path, ""); answer.Code != want {
				t.Errorf("%s: %d, want %d, %s", path, answer.Code, want, answer.Body)
			}
		}
		answer, took := ask(h, "POST", "/broadcast", "x")
		if answer.Code != http.StatusServiceUnavailable || took > patience {
			t.Errorf("a broadcast: %d after %v", answer.Code, took)
		}
	})
}
