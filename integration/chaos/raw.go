package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// errEnded: the server ended the stream.
var errEnded = errors.New("the stream ended")

// runRaw reads with nothing of this project until ctx ends: what a client in another
// language would do, in its simplest form.
func (r *reader) runRaw(ctx context.Context) error {
	cursor := ""
	retry := time.Second
	for ctx.Err() == nil {
		err := r.connect(ctx, &cursor, &retry)
		r.closed(err)
		pause(ctx, retry)
	}
	return nil
}

// connect reads one stream to its end.
func (r *reader) connect(ctx context.Context, cursor *string, retry *time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if *cursor != "" {
		req.Header.Set("Last-Event-ID", *cursor)
	}
	idle := time.AfterFunc(idleTime, func() { cancel(errors.New("nothing came for too long")) })
	defer idle.Stop()
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	if session := resp.Header.Get("Sse-Session"); session != "" {
		r.opened(session)
	}
	return r.read(resp.Body, idle, cursor, retry)
}

func (r *reader) read(body io.Reader, idle *time.Timer, cursor *string, retry *time.Duration) error {
	id, event := *cursor, ""
	var data []string
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		idle.Reset(idleTime)
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			id = value
		case "event":
			event = value
		case "data":
			data = append(data, value)
		case "retry":
			if ms, err := strconv.Atoi(value); err == nil {
				*retry = time.Duration(ms) * time.Millisecond
			}
		case "":
			if lines.Text() != "" {
				continue // a comment
			}
			*cursor = id
			if data != nil {
				r.received(id, event, strings.Join(data, "\n"))
			}
			event, data = "", nil
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errEnded
}
