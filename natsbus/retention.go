package natsbus

import (
	"context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// keepRetention lets go of what is older than Config.RetentionAge, as long as
// the log is open. The server's own limit by age would take the newest entry too.
func (l *busLog) keepRetention() {
	select {
	case <-l.connected:
	case <-l.life.Done():
		return
	}
	if l.linkErr != nil {
		return
	}
	every := min(max(l.cfg.RetentionAge/8, 200*time.Millisecond), 30*time.Second)
	for sleep(l.life, every) == nil {
		if l.stream.is() {
			ctx, cancel := context.WithTimeout(l.life, 2*apiTimeout)
			_ = l.trim(ctx) // the next round tries again
			cancel()
		}
	}
}

// trim purges the log of what is too old. Times are the server's: those of the
// messages, and that of the answer.
func (l *busLog) trim(ctx context.Context) error {
	if err := l.main.await(ctx); err != nil {
		return err
	}
	info, err := l.info(ctx)
	if err != nil {
		return err
	}
	age, err := time.ParseDuration(info.Config.Metadata[metaAge]) // of the node that wrote last
	if err != nil {
		return err
	}
	// Entries go in portions, some time late, so that what somebody has just seen to
	// be there does not go at the next moment.
	late := min(age/4, time.Minute)
	state, oldest := info.State, info.TimeStamp.Add(-age)
	due := state.FirstTime.Before(oldest.Add(-late))
	spare := uint64(max(info.Config.MaxBytes, 0)) > state.Bytes+roomForMarks
	if state.Msgs == 0 || info.TimeStamp.IsZero() || spare && !due && !l.raised(info) {
		return nil
	}
	newest, err := l.get(ctx, map[string]any{"last_by_subj": l.names.entries()})
	if err != nil && code(err) != codeMessageNotFound {
		return err
	}
	if err := l.fit(ctx, info, newest); err != nil {
		return err
	}
	if !due {
		return nil
	}
	keep := state.LastSeq // the first to keep: never past the newest entry, nor the newest mark
	if newest.seq != 0 {
		keep = min(keep, newest.seq)
	}
	if !state.LastTime.Before(oldest) {
		// Somewhere between: the first that is young enough. A server that is behind
		// names one that is older, which is right too.
		found, err := l.fetch(ctx, l.names.log, directGet{StartTime: &oldest, Batch: 1})
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return errStale
		}
		keep = min(keep, found[0].seq)
	}
	if keep <= state.FirstSeq {
		return nil
	}
	return l.main.api(ctx, "STREAM.PURGE."+l.names.log, map[string]any{"seq": keep}, nil)
}

// Marks take room too: markBytes each, about. There has to be roomForMarks for
// those behind the newest entry until the next look.
const (
	markBytes    = 160
	roomForMarks = 16 << 10
)

// wanted returns Config.RetentionBytes of the node that wrote last.
func wanted(info *jetstream.StreamInfo) int64 {
	n, _ := strconv.ParseInt(info.Config.Metadata[metaBytes], 10, 64)
	return n
}

func (l *busLog) raised(info *jetstream.StreamInfo) bool { return info.Config.MaxBytes > wanted(info) }

// fit gives the stream room for the newest entry and the marks behind it, should
// the retention be smaller than that, and takes it back when it is no longer
// needed.
func (l *busLog) fit(ctx context.Context, info *jetstream.StreamInfo, newest stored) error {
	need := wanted(info)
	if newest.seq != 0 {
		behind := int64(info.State.LastSeq - newest.seq)
		need = max(need, int64(len(newest.payload))+headerRoom+behind*markBytes+2*roomForMarks)
	}
	have := info.Config.MaxBytes
	if have == need || have > need && need > wanted(info) {
		l.capacity.Store(have)
		return nil
	}
	return l.resize(ctx, info.Config, need)
}

// makeRoom gives the stream room for an entry that is larger than the retention.
func (l *busLog) makeRoom(ctx context.Context, size int64) error {
	if size <= l.capacity.Load() {
		return nil
	}
	return l.try(ctx, func(ctx context.Context) error {
		info, err := l.info(ctx)
		if err != nil {
			return err
		}
		return l.resize(ctx, info.Config, max(info.Config.MaxBytes, size+2*roomForMarks))
	})
}

func (l *busLog) resize(ctx context.Context, config jetstream.StreamConfig, bytes int64) error {
	config.MaxBytes = bytes
	err := l.main.api(ctx, "STREAM.UPDATE."+l.names.log, &config, nil)
	if err == nil {
		l.capacity.Store(bytes)
	}
	return err
}
