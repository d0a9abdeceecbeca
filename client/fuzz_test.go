package client_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sseplane/sseplane/client"
	"github.com/sseplane/sseplane/sse"
)

// FuzzServer lets a server send any bytes over two connections, in pieces of any size. The client must give out what the
// format says of each, continue with the right id, and end.
func FuzzServer(f *testing.F) {
	f.Add("id: 1\ndata: a\n\ndata: b", "data: c\r\n\r\n", []byte{3, 1})
	f.Add("\uFEFFdata: a\r\rid: 2\x00\n\nid\n\n", "event: reset\ndata: {\"reason\":\"x\"}\n\n", []byte{})
	f.Add("retry: 99999999999999999999\nid: \x01\n\n", ":\n", []byte{0, 0, 0, 200})
	f.Add("data: "+strings.Repeat("x", 300)+"\n\n", "", []byte{255})
	f.Fuzz(func(t *testing.T, one, two string, sizes []byte) {
		const limit = 256
		var want []string
		id := ""
		ended := error(client.ErrNoContent)
		for _, in := range []string{one, two} {
			d := sse.NewDecoder(strings.NewReader(in), sse.WithLastEventID(id), sse.WithLimits(limit, limit))
			m, err := d.Next()
			for ; err == nil; m, err = d.Next() {
				want = append(want, show(m))
			}
			if id = d.LastEventID(); err != io.EOF {
				ended = err
				break
			}
		}
		bubble(t, func(t *testing.T) {
			server := serve(pieces(one, sizes), pieces(two, sizes))
			got, err := collect(open(t, server, client.WithLimits(limit, limit), client.WithBuffer(1+len(sizes))))
			if got != strings.Join(want, " ") {
				t.Errorf("got %q, want %q", got, want)
			}
			if err == nil || err.Error() != ended.Error() {
				t.Errorf("%v, want %v", err, ended)
			}
			if ids := server.requests[len(server.requests)-1].Header.Get("Last-Event-ID"); ended == client.ErrNoContent && ids != id && !strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7F }) {
				t.Errorf("continued after %q, want %q", ids, id)
			}
		})
	})
}

func pieces(s string, sizes []byte) answer {
	return func(r *http.Request) (*http.Response, error) {
		return body(func() io.ReadCloser {
			pr, pw := io.Pipe()
			go func() {
				rest := s
				for _, n := range sizes {
					n := min(int(n), len(rest))
					if _, err := io.WriteString(pw, rest[:n]); err != nil {
						return
					}
					rest = rest[n:]
				}
				io.WriteString(pw, rest)
				pw.Close()
			}()
			return pr
		})(r)
	}
}
