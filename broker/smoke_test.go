package broker

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sseplane/sseplane/backplane"
	"github.com/sseplane/sseplane/sse"
)

func TestSmoke(t *testing.T) {
	mem := backplane.NewMemory()
	a := NewBroker(nil, WithBackplane(mem), WithNodeName("a"))
	b := NewBroker(nil, WithBackplane(mem), WithNodeName("b"))
	defer b.Close()
	defer a.Close()
	gone := make(chan string, 10)
	a.SetDisconnectCallback(func(c, s string) { gone <- c })
	srv := httptest.NewServer(a.Handler(func(r *http.Request) (Client, error) {
		return Client{ID: r.URL.Query().Get("client"), Topics: []string{"t"}}, nil
	}))
	defer srv.Close()
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+"?client=joe", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(resp.Body)
	if !b.IsClientPresent("joe") {
		t.Fatal("joe is not present on b")
	}
	if err := b.Send("joe", sse.StringEvent{Data: "hi"}); err != nil {
		t.Fatal(err)
	}
	pos, err := b.Publish(ctx, Topics("t", "u"), sse.StringEvent{Id: "mine", Event: "x", Data: "hi\nthere"}, IdempotencyKey("k"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Join(ctx, "joe", "room"); err != nil {
		t.Fatal(err)
	}
	b.Publish(ctx, Topics("room"), sse.StringEvent{Data: "end"})
	var got []string
	for lines.Scan() {
		got = append(got, lines.Text())
		if strings.Contains(lines.Text(), "end") {
			break
		}
	}
	t.Log(strings.Join(got, "\n"), pos)
	resp.Body.Close()
	select {
	case c := <-gone:
		t.Log("gone", c)
	case <-ctx.Done():
		t.Fatal("no callback")
	}
}
