package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sseplane/sseplane/backplane"
)

const apiPrefix = "$JS.API."

// apiTimeout is how long one request to the server may take. Those that can be
// repeated are, with pauses from retryPauseMin to retryPauseMax.
const (
	apiTimeout    = 1500 * time.Millisecond
	retryPauseMin = 20 * time.Millisecond
	retryPauseMax = 250 * time.Millisecond
)

// Codes of the JetStream API.
const (
	codeMessageNotFound   = 10037
	codeStreamNotFound    = 10059
	codeWrongLastSequence = 10071
	codeWrongLastConstant = 10164
	codeDuplicateConflict = 10158
)

// apiReply is what every answer of the JetStream API has.
type apiReply struct {
	Error *jetstream.APIError `json:"error"`
}

// api asks the JetStream API once. ask may be nil, bytes, or what becomes JSON.
func (l *link) api(ctx context.Context, method string, ask, answer any) error {
	var body []byte
	switch v := ask.(type) {
	case nil:
	case []byte:
		body = v
	default:
		var err error
		if body, err = json.Marshal(v); err != nil {
			return err
		}
	}
	sent := time.Now()
	msg, err := l.request(ctx, &nats.Msg{Subject: apiPrefix + method, Data: body}, apiTimeout)
	if err != nil {
		if ctx.Err() == nil && transient(err) {
			l.unanswered(sent) // that there is an answer would prove nothing
		}
		return err
	}
	var reply apiReply
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return fmt.Errorf("natsbus: answer to %s: %w", method, err)
	}
	if reply.Error != nil {
		return fmt.Errorf("natsbus: %s: %w", method, reply.Error)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("natsbus: answer to %s: %w", method, err)
	}
	return nil
}

// request sends a message and waits for its answer, at most for the timeout.
func (l *link) request(ctx context.Context, m *nats.Msg, timeout time.Duration) (*nats.Msg, error) {
	attempt, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	sent := time.Now()
	msg, err := l.nc.RequestMsgWithContext(attempt, m)
	if err == nil {
		return msg, nil
	}
	return nil, fmt.Errorf("natsbus: %s: %w", m.Subject, tooLarge(l.explain(err, sent)))
}

// tooLarge says in the contract's words what the client's library says of a message
// that the server would not take.
func tooLarge(err error) error {
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("%w (%w)", backplane.ErrTooLarge, err)
	}
	return err
}

// code returns the JetStream error code in err, or 0.
func code(err error) int {
	var e *jetstream.APIError
	if errors.As(err, &e) {
		return int(e.ErrorCode)
	}
	return 0
}

var finalErrors = []error{
	backplane.ErrTrimmed, backplane.ErrEpoch, backplane.ErrOldBatch, backplane.ErrTooLarge, backplane.ErrSwept, backplane.ErrClosed,
	ErrForeignStream, errVersion, nats.ErrConnectionClosed,
}

// transient reports whether a request that failed with err may succeed when
// repeated: the server did not answer, or has no leader at the moment.
func transient(err error) bool {
	var e *jetstream.APIError
	var f fatal
	if errors.As(err, &f) {
		return false
	}
	for _, final := range finalErrors {
		if errors.Is(err, final) {
			return false
		}
	}
	if errors.As(err, &e) {
		switch e.ErrorCode {
		case 10005, 10008, 10009, 10076, 10118, codeDuplicateConflict, // a peer is offline, no leader, not enabled yet
			codeStreamNotFound: // it is made again
			return true
		}
		return e.Code == 503 && e.ErrorCode != 10077 && e.ErrorCode != 10023 && e.ErrorCode != 10028 // limits
	}
	return true
}

// try calls f, with the log's stream there and the link to the server up,
// until it succeeds, fails for good, or ctx ends.
func (l *busLog) try(ctx context.Context, f func(context.Context) error) error {
	return retry(ctx, func(ctx context.Context) error {
		if err := l.ensureLog(ctx); err != nil {
			return err
		}
		if err := l.main.await(ctx); err != nil {
			return err
		}
		err := f(ctx)
		if errors.Is(err, nats.ErrNoResponders) || code(err) == codeStreamNotFound {
			l.stream.doubt() // it may be gone
		}
		return err
	})
}

// pause is the time between two tries.
type pause time.Duration

// wait waits, a little longer each time, and returns ctx's error when it ends.
func (p *pause) wait(ctx context.Context) error {
	d := max(time.Duration(*p), retryPauseMin)
	*p = pause(min(2*d, retryPauseMax))
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retry calls f until it succeeds, fails for good, or ctx ends; then it returns
// what f said last.
func retry(ctx context.Context, f func(context.Context) error) error {
	var p pause
	for {
		err := f(ctx)
		if err == nil || !transient(err) || ctx.Err() != nil {
			return err
		}
		if p.wait(ctx) != nil {
			return err
		}
	}
}

// fatal is an error that no other try can change.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }
