package broker

import (
	"fmt"
	"mime"
	"net/http"
	"strings"
)

// checkedHeaders returns the application's headers for streams. One that would make a
// response something else than a stream is a bad option.
func (c *config) checkedHeaders(headers map[string]string) map[string]string {
	checked := make(map[string]string, len(headers))
	for name, value := range headers {
		c.require(validHeader(name, value), "NewBroker", fmt.Sprintf("%.80q: %.80q is no header", name, value))
		switch http.CanonicalHeaderKey(name) {
		case "Content-Type":
			kind, _, err := mime.ParseMediaType(value)
			c.require(err == nil && kind == "text/event-stream", "NewBroker", fmt.Sprintf("header %s: %.80q is not text/event-stream", name, value))
		case "Content-Encoding", "Content-Length":
			c.require(false, "NewBroker", fmt.Sprintf("header %s: a stream has none", name))
		case "Transfer-Encoding":
			// Harmless when left out, and older programs give it.
			c.logger.Warn("sseplane: a header is left out, because it is the server's own", "name", name)
			continue
		}
		checked[name] = value
	}
	return checked
}

// validHeader reports whether it can be sent (RFC 9110, 5.1 and 5.5).
func validHeader(name, value string) bool {
	for _, c := range []byte(name) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return name != ""
}
