package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// everyone is the topic of broadcasts, direct the beginning of that of one client's.
const (
	everyone = "*"
	direct   = "@"
)

// attemptTime bounds one attempt to publish.
const attemptTime = 4 * time.Second

// publisher publishes numbered events to one topic, through whichever replica the load
// balancer chooses. It never skips one: an event in doubt is tried again with its key.
type publisher struct {
	topic   string
	base    string // of the load balancer
	run     string // keeps the keys of runs apart
	every   time.Duration
	http    *http.Client
	history *History
	last    int // the number of the last event that was accepted
}

// publish publishes until stop is closed, or ctx ends.
func (p *publisher) publish(ctx context.Context, stop <-chan struct{}) {
	for p.one(ctx) {
		select {
		case <-time.After(p.every/2 + rand.N(p.every)): // the load
		case <-stop:
			return
		case <-ctx.Done():
			return
		}
	}
}

// one publishes the next event. It gives up only with ctx.
func (p *publisher) one(ctx context.Context) (accepted bool) {
	n := p.last + 1
	for {
		position, err := p.attempt(ctx, n)
		if err == nil {
			p.history.Add(Record{Kind: Published, Topic: p.topic, N: n, Position: position})
			p.last = n
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		p.history.Add(Record{Kind: Doubted, Topic: p.topic, N: n, Note: err.Error()})
		pause(ctx, 100*time.Millisecond)
	}
}

func (p *publisher) attempt(ctx context.Context, n int) (position string, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	path := "/publish/" + url.PathEscape(p.topic)
	if p.topic == everyone {
		path = "/broadcast"
	} else if client, ok := strings.CutPrefix(p.topic, direct); ok {
		path = "/send/" + url.PathEscape(client)
	}
	body := encode(p.topic, n)
	query := url.Values{"key": {p.run + " " + body}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+path+"?"+query.Encode(), strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %.200s", resp.Status, text)
	}
	var accepted struct {
		Position string `json:"position"`
	}
	if err := json.Unmarshal(text, &accepted); err != nil {
		return "", err
	}
	return accepted.Position, nil
}

// encode makes the data of an event, and decode takes it apart.
func encode(topic string, n int) string { return fmt.Sprintf("%d %s", n, topic) }

func decode(data string) (topic string, n int, err error) {
	if _, err = fmt.Sscanf(data, "%d %s", &n, &topic); err != nil {
		err = fmt.Errorf("unexpected data %q: %w", data, err)
	}
	return topic, n, err
}

// pause lets time pass, as long as ctx lasts.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
