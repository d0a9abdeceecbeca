package broker_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	net "github.com/sseplane/sseplane/broker"
	"github.com/sseplane/sseplane/sse"
)

// The code in this file is written as for the library that this one succeeds, with
// its names and its habits: only import paths and package names differ.

type oldAPI struct {
	broker *net.Broker
}

func (api *oldAPI) sseHandler(writer http.ResponseWriter, request *http.Request) {
	clientConn, err := api.broker.Connect("somebody", writer, request)
	if err != nil {
		log.Println(err)
		return
	}
	<-clientConn.Done()
}

func (api *oldAPI) slowHeartbeatHandler(writer http.ResponseWriter, request *http.Request) {
	clientConn, err := api.broker.ConnectWithHeartBeatInterval(fmt.Sprintf("%v", 17), writer, request, 1*time.Minute)
	if err != nil {
		log.Println(err)
		return
	}
	stop := make(chan interface{}, 1)
	go func() {
		ticker := time.NewTicker(1 * time.Second)
		defer ticker.Stop()
		count := 0
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				clientConn.Send(numbered(count))
				count++
			}
		}
	}()
	<-clientConn.Done()
	stop <- true
}

func numbered(count int) sse.StringEvent {
	return sse.StringEvent{
		Id:    fmt.Sprintf("%v", count),
		Event: "message",
		Data:  fmt.Sprintf("%v", count),
	}
}

func TestOldServerCode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disconnected := new(journal)
		sseClientBroker := net.NewBroker(map[string]string{
			"Access-Control-Allow-Origin": "*",
		})
		sseClientBroker.SetDisconnectCallback(func(clientId string, sessionId string) {
			disconnected.note("gone: session %t of %v", sessionId != "", clientId)
		})
		t.Cleanup(func() { shut(t, sseClientBroker) })
		api := &oldAPI{broker: sseClientBroker}
		k := newSink()
		r := serve(t, k, k, func(w http.ResponseWriter, r *http.Request) error { api.sseHandler(w, r); return nil })
		synctest.Wait()

		evt := sse.StringEvent{
			Id:    "my-id-1",
			Event: "stock_update",
			Data:  "12 left",
		}
		api.broker.Broadcast(evt)
		api.broker.Send("somebody", evt)
		api.broker.Broadcast(&sse.JsonEvent{Id: "j", Event: "json", Data: map[string]interface{}{"a": 1}})
		var event net.Event = sse.HeartbeatEvent{}
		api.broker.Broadcast(event)
		synctest.Wait()
		got := r.events()
		if len(got) != 3 {
			t.Fatalf("received %+v", got)
		}
		for _, m := range got[:2] {
			if m.ID != evt.Id || m.Event != evt.Event || m.Data != evt.Data {
				t.Errorf("received %+v", m)
			}
		}
		if got[2].ID != "j" || got[2].Event != "json" || got[2].Data != `{"a":1}` {
			t.Errorf("received %+v", got[2])
		}
		if k.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("headers %v", k.Header())
		}
		r.leave()
		synctest.Wait()
		disconnected.wants(t, "gone: session true of somebody")
		if err := sseClientBroker.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOldServerCodeWithASender(t *testing.T) {
	bubble(t, func(t *testing.T) {
		api := &oldAPI{broker: net.NewBroker(map[string]string{})}
		t.Cleanup(func() { shut(t, api.broker) })
		k := newSink()
		r := serve(t, k, k, func(w http.ResponseWriter, r *http.Request) error { api.slowHeartbeatHandler(w, r); return nil })
		time.Sleep(3*time.Second + 500*time.Millisecond)
		r.wants("0", "1", "2")
		r.leave()
	})
}

func TestOldClientMethods(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := net.NewBroker(nil)
		t.Cleanup(func() { shut(t, b) })
		must(t, b.Start(t.Context()))

		var unknown *net.UnknownClientError
		if err := b.Send("nobody", sse.StringEvent{Data: "x"}); !errors.As(err, &unknown) {
			t.Errorf("Send: %v", err)
		}
		if err := b.SetClientMetadata("nobody", map[string]interface{}{"a": 1}); !errors.As(err, &unknown) {
			t.Errorf("SetClientMetadata: %v", err)
		}
		if m, err := b.GetClientMetadata("nobody"); m != nil || !errors.As(err, &unknown) {
			t.Errorf("GetClientMetadata: %v, %v", m, err)
		}
		if b.IsClientPresent("nobody") {
			t.Error("nobody is present")
		}

		r := connect(t, b, "joe")
		second := connect(t, b, "joe")
		if !b.IsClientPresent("joe") || r.conn.Id() != "joe" || r.conn.SessionId() == second.conn.SessionId() {
			t.Error("joe is not as he was")
		}
		must(t, b.SetClientMetadata("joe", map[string]interface{}{"name": "Joe"}))
		var metadata net.ClientMetadata
		metadata, err := b.GetClientMetadata("joe")
		if err != nil || metadata["name"] != "Joe" {
			t.Errorf("metadata %v, %v", metadata, err)
		}
		must(t, b.Send("joe", sse.StringEvent{Data: "x"})) // to all sessions
		r.wants("x")
		second.wants("x")
		r.leave()
		synctest.Wait()
		if !b.IsClientPresent("joe") {
			t.Error("one session is left")
		}
		second.leave()
		synctest.Wait()
		if b.IsClientPresent("joe") {
			t.Error("no session is left")
		}
	})
}

func TestOldErrors(t *testing.T) {
	var err error = net.NewStreamingUnsupportedError("streaming unsupported")
	var streaming *net.StreamingUnsupportedError
	if err.Error() != "streaming unsupported" || !errors.As(fmt.Errorf("wrapped: %w", err), &streaming) || streaming.Message != "streaming unsupported" {
		t.Errorf("error %v", err)
	}
	err = net.NewUnknownClientError("joe")
	var unknown *net.UnknownClientError
	if !strings.Contains(err.Error(), "joe") || !errors.As(err, &unknown) || errors.As(err, &streaming) {
		t.Errorf("error %v", err)
	}
	var base net.SSEError = unknown.SSEError
	if base.Message != err.Error() {
		t.Errorf("message %q", base.Message)
	}
}

// The same over a socket, as programs of the old library ran: with nothing but
// http.HandleFunc, and without ever calling Start.
func TestOldServerCodeOverASocket(t *testing.T) {
	checkLeaks(t)
	api := &oldAPI{broker: net.NewBroker(map[string]string{"Access-Control-Allow-Origin": "*"})}
	mux := http.NewServeMux()
	mux.HandleFunc("/sse", api.sseHandler)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	f := open(t, server.Client(), server.URL+"/sse", "")
	api.broker.Broadcast(sse.StringEvent{Id: "1", Event: "message", Data: "hello"})
	m, err := f.dec.Next()
	if err != nil || m.Data != "hello" || m.ID != "1" || m.Event != "message" {
		t.Errorf("received %+v, %v", m, err)
	}
	must(t, api.broker.Close())
	if _, err := f.dec.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after Close: %v", err)
	}
}
