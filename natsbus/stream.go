package natsbus

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// What a stream's metadata say: that it is ours, and what the server has no
// field for.
const (
	metaLayout = "sseplane.layout"
	metaAge    = "sseplane.age"   // Config.RetentionAge
	metaBytes  = "sseplane.bytes" // Config.RetentionBytes
	layout     = "1"
)

// Windows of the server's duplicate detection shorter than this it refuses.
const minWindow = 100 * time.Millisecond

func (l *busLog) logConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        l.names.log,
		Description: "sseplane: log of a namespace",
		Subjects:    []string{l.names.logSubjects()},
		Storage:     l.bus.options.storage,
		Replicas:    l.bus.options.replicas,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		MaxBytes:    l.cfg.RetentionBytes,
		MaxMsgs:     -1,
		// Age is kept by the nodes (see keepRetention): the server would take the
		// newest entry too, and would let the duplicate window be no longer.
		MaxAge:      0,
		Duplicates:  max(l.cfg.IdempotencyWindow, minWindow),
		AllowDirect: true,
		DenyDelete:  true, // a deleted message would be a hole
		Metadata:    map[string]string{metaLayout: layout, metaAge: l.cfg.RetentionAge.String(), metaBytes: strconv.FormatInt(l.cfg.RetentionBytes, 10)},
	}
}

func (l *busLog) registerConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        l.names.register,
		Description: "sseplane: register of a namespace",
		Subjects:    []string{l.names.registerSubjects()},
		Storage:     l.bus.options.storage,
		Replicas:    l.bus.options.replicas,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    -1,
		MaxMsgs:     -1,
		Duplicates:  2 * time.Minute,
		AllowDirect: true,
		DenyDelete:  true,
		Metadata:    map[string]string{metaLayout: layout},
	}
}

// ensured is something on the server that is looked for, and made if need be,
// once for all calls.
type ensured struct {
	turn chan struct{} // holds one token, for who looks
	mu   sync.Mutex
	done bool
	at   time.Time // when it was last found missing
}

func newEnsured() *ensured {
	e := &ensured{turn: make(chan struct{}, 1)}
	e.turn <- struct{}{}
	return e
}

func (e *ensured) is() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.done
}

func (e *ensured) set(done bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done = done
}

// doubt makes the next call look again, once a second at most: requests that
// nobody answers are common while a stream elects its leader.
func (e *ensured) doubt() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := time.Now(); now.Sub(e.at) >= time.Second {
		e.at, e.done = now, false
	}
}

// once calls f unless it has succeeded before.
func (e *ensured) once(ctx context.Context, f func(context.Context) error) error {
	if e.is() {
		return nil
	}
	select {
	case <-e.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { e.turn <- struct{}{} }()
	if e.is() {
		return nil
	}
	if err := f(ctx); err != nil {
		return err
	}
	e.set(true)
	return nil
}

// ensureLog makes sure that the log's stream exists as configured, and that the
// present epoch belongs to it.
func (l *busLog) ensureLog(ctx context.Context) error {
	return l.stream.once(ctx, func(ctx context.Context) error {
		return retry(ctx, func(ctx context.Context) error {
			if err := l.main.await(ctx); err != nil {
				return err
			}
			if err := l.ensureBucket(ctx); err != nil {
				return err
			}
			info, err := l.ensureStream(ctx, l.logConfig())
			if err != nil {
				return err
			}
			l.capacity.Store(info.Config.MaxBytes)
			return l.ensureEpoch(ctx, info)
		})
	})
}

func (l *busLog) ensureRegister(ctx context.Context) error {
	return retry(ctx, func(ctx context.Context) error {
		if err := l.main.await(ctx); err != nil {
			return err
		}
		_, err := l.ensureStream(ctx, l.registerConfig())
		return err
	})
}

// ensureStream creates a stream, or brings the one that is there to what is
// wanted. Nodes that do so at once do not disturb each other.
func (l *busLog) ensureStream(ctx context.Context, want jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	var have jetstream.StreamInfo
	err := l.main.api(ctx, "STREAM.INFO."+want.Name, nil, &have)
	if code(err) == codeStreamNotFound {
		err = l.main.api(ctx, "STREAM.CREATE."+want.Name, &want, &have)
		if err == nil {
			return &have, nil
		}
		if code(err) == 10058 { // somebody else was faster, with other limits
			err = l.main.api(ctx, "STREAM.INFO."+want.Name, nil, &have)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := foreign(&have.Config, &want); err != nil {
		return nil, err
	}
	config, changed := merged(have.Config, want)
	if !changed {
		return &have, nil
	}
	if err := l.main.api(ctx, "STREAM.UPDATE."+want.Name, &config, &have); err != nil {
		return nil, err
	}
	return &have, nil
}

// foreign returns an error if have is not a stream that can become want.
func foreign(have, want *jetstream.StreamConfig) error {
	var why string
	switch {
	case have.Metadata[metaLayout] == "":
		why = "it was not made by sseplane"
	case have.Metadata[metaLayout] != want.Metadata[metaLayout]:
		why = "its layout is " + strconv.Quote(have.Metadata[metaLayout]) + ", not " + strconv.Quote(want.Metadata[metaLayout])
	case have.Storage != want.Storage:
		why = fmt.Sprintf("its storage is %v, not %v", have.Storage, want.Storage)
	case !slices.Equal(have.Subjects, want.Subjects):
		why = fmt.Sprintf("its subjects are %q, not %q", have.Subjects, want.Subjects)
	case have.Retention != want.Retention, have.Discard != want.Discard, have.MaxAge != want.MaxAge,
		have.MaxMsgsPerSubject > 0, have.MaxMsgs > 0, have.Mirror != nil, len(have.Sources) > 0, have.NoAck, have.Sealed:
		why = "its limits or its kind were changed"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s: %s", ErrForeignStream, want.Name, why)
}

// merged returns have with what want decides, and whether that is a change.
// What an operator has set besides (placement, compression, a description) stays.
func merged(have, want jetstream.StreamConfig) (jetstream.StreamConfig, bool) {
	if want.Metadata[metaBytes] != "" && have.Metadata[metaBytes] == want.Metadata[metaBytes] {
		want.MaxBytes = have.MaxBytes // more than that for the newest entry's sake, perhaps
	}
	changed := have.MaxBytes != want.MaxBytes || have.Duplicates != want.Duplicates || have.Replicas != want.Replicas ||
		!have.AllowDirect || !have.DenyDelete
	have.MaxBytes, have.Duplicates, have.Replicas = want.MaxBytes, want.Duplicates, want.Replicas
	have.AllowDirect, have.DenyDelete = true, true
	have.Metadata = maps.Clone(have.Metadata)
	for k, v := range want.Metadata {
		if have.Metadata[k] != v {
			have.Metadata[k], changed = v, true
		}
	}
	return have, changed
}

// ensureBucket makes sure that the bucket of the epochs exists. All namespaces
// share it.
func (l *busLog) ensureBucket(ctx context.Context) error {
	name := "KV_" + l.names.bucket
	var have jetstream.StreamInfo
	err := l.main.api(ctx, "STREAM.INFO."+name, nil, &have)
	switch {
	case code(err) == codeStreamNotFound:
		// A bucket is a stream of this shape. The library's own call for it needs more
		// permissions.
		err = l.main.api(ctx, "STREAM.CREATE."+name, &jetstream.StreamConfig{
			Name:              name,
			Description:       "sseplane: epochs of the namespaces",
			Subjects:          []string{"$KV." + l.names.bucket + ".>"},
			Storage:           l.bus.options.storage,
			Replicas:          l.bus.options.replicas,
			MaxMsgsPerSubject: 1,
			MaxMsgs:           -1,
			MaxBytes:          -1,
			Discard:           jetstream.DiscardNew,
			AllowRollup:       true,
			AllowDirect:       true,
			DenyDelete:        true,
			Duplicates:        2 * time.Minute,
			Metadata:          map[string]string{metaLayout: layout},
		}, nil)
		if code(err) == 10058 { // somebody else was faster, with other replicas
			return nil
		}
		return err
	case err != nil:
		return err
	case have.Config.Metadata[metaLayout] != layout:
		return fmt.Errorf("%w: bucket %s: it was not made by sseplane", ErrForeignStream, l.names.bucket)
	case have.Config.Replicas >= l.bus.options.replicas:
		return nil
	}
	have.Config.Replicas = l.bus.options.replicas
	return l.main.api(ctx, "STREAM.UPDATE."+name, &have.Config, nil)
}

// info returns the state of the log's stream as its leader has it.
func (l *busLog) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	var info jetstream.StreamInfo
	return &info, l.main.api(ctx, "STREAM.INFO."+l.names.log, nil, &info)
}
