package natsbus

import (
	"context"
	"time"
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
	state, oldest := info.State, info.TimeStamp.Add(-age)
	if state.Msgs == 0 || !state.FirstTime.Before(oldest) || info.TimeStamp.IsZero() {
		return nil
	}
	newest, err := l.get(ctx, l.main, map[string]any{"last_by_subj": l.names.entries()})
	if err != nil && code(err) != codeMessageNotFound {
		return err
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
