package client

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sseplane/sseplane/sse"
)

// An Option changes a Stream from what it is by default. A bad value is an error of Open that names the option.
type Option func(*options) error

type options struct {
	urls        []string
	method      string
	body        []byte
	header      http.Header
	client      *http.Client
	lastEventID string
	resetEvent  string

	retry       time.Duration
	maxBackoff  time.Duration
	stable      time.Duration
	idle        time.Duration
	retryStatus func(int) bool

	maxLine, maxEvent int
	buffer            int
	backpressure      bool

	logger      *slog.Logger
	onOpen      func(*http.Response)
	onError     func(error)
	onComment   func(string)
	onReconnect func(error, time.Duration)
}

func newOptions(first string, list []Option) (*options, error) {
	o := &options{
		urls: []string{first}, method: http.MethodGet, header: http.Header{}, client: http.DefaultClient, resetEvent: "reset",
		retry: time.Second, maxBackoff: 30 * time.Second, stable: 10 * time.Second, idle: 5 * time.Minute,
		retryStatus: temporary, maxLine: sse.DefaultMaxLine, maxEvent: sse.DefaultMaxEvent, buffer: 4 << 20,
		logger: slog.New(slog.DiscardHandler),
	}
	for _, option := range list {
		if err := option(o); err != nil {
			return nil, err
		}
	}
	for _, u := range o.urls {
		parsed, err := url.Parse(u)
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		if (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
			return nil, fmt.Errorf("client: url %.200q is not http:// or https:// and a host", u)
		}
	}
	if _, err := http.NewRequest(o.method, o.urls[0], nil); err != nil {
		return nil, fmt.Errorf("client: WithMethod(%.100q): %w", o.method, err)
	}
	return o, nil
}

// temporary is the default for WithRetryStatus.
func temporary(status int) bool { return status == http.StatusTooManyRequests || status >= 500 }

// WithURLs adds the addresses of further replicas, where there is no load balancer. Each connection goes to the next one
// in turn.
func WithURLs(urls ...string) Option {
	return func(o *options) error {
		o.urls = append(o.urls, urls...)
		return nil
	}
}

// WithMethod sets the method of the request. The default is GET.
func WithMethod(method string) Option {
	return func(o *options) error {
		o.method = method
		return nil
	}
}

// WithBody sets the body of the request; it is sent again with each reconnect. The bytes are copied.
func WithBody(body []byte) Option {
	return func(o *options) error {
		o.body = bytes.Clone(body)
		return nil
	}
}

// WithHeader adds a header to each request. Accept, Accept-Encoding and Cache-Control replace what the client sends by
// itself; Last-Event-ID is the same as WithLastEventID.
func WithHeader(key, value string) Option {
	return func(o *options) error {
		if !validName(key) {
			return fmt.Errorf("client: WithHeader(%.100q): bad name", key)
		}
		if !validValue(value) {
			return fmt.Errorf("client: WithHeader(%q): a value with a control character", key)
		}
		if http.CanonicalHeaderKey(key) == "Last-Event-Id" {
			o.lastEventID = value
			return nil
		}
		o.header.Add(key, value)
		return nil
	}
}

// WithHTTPClient sets the client that makes the requests, for proxies, certificates, cookies and credentials that
// change. The default is http.DefaultClient. Its Timeout, if any, cuts streams.
func WithHTTPClient(c *http.Client) Option {
	return func(o *options) error {
		if c == nil {
			return errors.New("client: WithHTTPClient(nil)")
		}
		o.client = c
		return nil
	}
}

// WithLastEventID sets the id to continue after. The default is none: events from now on.
func WithLastEventID(id string) Option {
	return func(o *options) error {
		if !utf8.ValidString(id) || !validValue(id) {
			return fmt.Errorf("client: WithLastEventID(%.100q): %w", id, ErrLastEventID)
		}
		o.lastEventID = id
		return nil
	}
}

// WithResetEvent sets the type of the events that are handed out as Reset. The default is "reset"; "" means none.
func WithResetEvent(eventType string) Option {
	return func(o *options) error {
		o.resetEvent = eventType
		return nil
	}
}

// WithRetry sets the time to wait before reconnecting for as long as the server has not sent a retry of its own. The
// default is 1 s, the least 100 ms.
func WithRetry(d time.Duration) Option {
	return func(o *options) error {
		if d <= 0 {
			return fmt.Errorf("client: WithRetry(%v): must be positive", d)
		}
		o.retry = d
		return nil
	}
}

// WithBackoff sets how far the time between tries grows as one fails after another, and how long a connection must have
// lasted for the time to start from its beginning again: one that was accepted and ended earlier counts as a failure,
// unless the server has sent a retry. The defaults are 30 s and 10 s. A server's retry that is longer is kept.
func WithBackoff(most, stable time.Duration) Option {
	return func(o *options) error {
		if most <= 0 || stable < 0 {
			return fmt.Errorf("client: WithBackoff(%v, %v): must be positive", most, stable)
		}
		o.maxBackoff, o.stable = most, stable
		return nil
	}
}

// WithIdleTimeout sets how long nothing may come, not even a heartbeat, before the connection counts as dead and the
// stream reconnects: two or three times the server's heartbeat interval. The default is 5 minutes. It also bounds the
// wait for the server's answer, to 30 s at most. 0 means to wait for ever.
func WithIdleTimeout(d time.Duration) Option {
	return func(o *options) error {
		if d < 0 {
			return fmt.Errorf("client: WithIdleTimeout(%v): must not be negative", d)
		}
		o.idle = d
		return nil
	}
}

// WithRetryStatus sets which statuses are tried again. By default these are 429 and all from 500 on, because services
// restart. 200 and 204 are never asked about. If the answer has a Retry-After header, the next try does not come earlier
// (but within a day and a half).
func WithRetryStatus(retry func(status int) bool) Option {
	return func(o *options) error {
		if retry == nil {
			return errors.New("client: WithRetryStatus(nil)")
		}
		o.retryStatus = retry
		return nil
	}
}

// WithStrictStatus is the rule of the standard: any status but 200 ends the stream. Failures to connect are still
// tried again.
func WithStrictStatus() Option {
	return WithRetryStatus(func(int) bool { return false })
}

// WithLimits sets the longest line and the largest event, in bytes. The default is 16 MiB for both. More ends the
// stream with sse.ErrLineTooLong or sse.ErrEventTooLarge, because the same would come again.
func WithLimits(line, event int) Option {
	return func(o *options) error {
		if line <= 0 || event <= 0 {
			return fmt.Errorf("client: WithLimits(%d, %d): must be positive", line, event)
		}
		o.maxLine, o.maxEvent = line, event
		return nil
	}
}

// WithBuffer sets how many bytes of events may wait for one reader (Events, Subscribe or Handle). The default is 4 MiB;
// one event fits always. When a reader is full and it is the only one, the stream waits for it, and through the
// connection so does the server. When there are others, they wait for it for one second in all until it has caught
// up; then it is ended with ErrSlowSubscription after what it has, so that it neither stops them nor misses events in
// silence. See WithBackpressure.
func WithBuffer(size int) Option {
	return func(o *options) error {
		if size <= 0 {
			return fmt.Errorf("client: WithBuffer(%d): must be positive", size)
		}
		o.buffer = size
		return nil
	}
}

// WithBackpressure makes the stream wait for the slowest reader instead of ending it.
func WithBackpressure() Option {
	return func(o *options) error {
		o.backpressure = true
		return nil
	}
}

// WithLogger sets where connections and failures are logged. The default is nowhere.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error {
		if l == nil {
			return errors.New("client: WithLogger(nil)")
		}
		o.logger = l
		return nil
	}
}

// WithOpenHook calls f when a connection was accepted, with the answer, whose body is empty for f. Like all hooks it is
// called from the stream's own goroutine, which waits for it, and may call any method of the stream.
func WithOpenHook(f func(*http.Response)) Option {
	return func(o *options) error {
		o.onOpen = f
		return nil
	}
}

// WithErrorHook calls f with each failure that the stream survives. That a server ends a connection is none.
func WithErrorHook(f func(error)) Option {
	return func(o *options) error {
		o.onError = f
		return nil
	}
}

// WithCommentHook calls f with each comment, without the colon and one leading space.
func WithCommentHook(f func(comment string)) Option {
	return func(o *options) error {
		o.onComment = f
		return nil
	}
}

// WithReconnectHook calls f before each wait to reconnect, with the reason (io.EOF if the server ended the connection)
// and the time.
func WithReconnectHook(f func(reason error, wait time.Duration)) Option {
	return func(o *options) error {
		o.onReconnect = f
		return nil
	}
}

// validName tells whether s is a token of RFC 9110, section 5.6.2.
func validName(s string) bool {
	for _, c := range []byte(s) {
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// validValue tells whether net/http sends s as the value of a header.
func validValue(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c == 0x7F {
			return false
		}
	}
	return true
}
