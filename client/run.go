package client

import (
	"context"
	"errors"
	"time"

	"github.com/sseplane/sseplane/sse"
)

// run connects and reads until the stream ends. If first is not nil, it gets the result of the first request, nil or
// not, and a first request that fails is the last.
func (s *Stream) run(first chan<- error) {
	defer s.task.finish()
	for n := 0; ; n++ {
		o := s.connection(s.o.urls[n%len(s.o.urls)], first)
		if s.ctx.Err() != nil {
			s.end(context.Cause(s.ctx))
			return
		}
		if o.final || first != nil && !o.opened {
			if first != nil && !o.opened {
				first <- o.err
			}
			s.o.logger.Info("event stream ended", "err", o.err)
			s.end(o.err)
			return
		}
		first = nil
		s.failed(o.err)
		if o.err == errRestart {
			s.backoff.retries = 0
			continue
		}
		s.wait(o)
	}
}

// wait lets the time pass until the next try.
func (s *Stream) wait(o outcome) {
	d := s.backoff.next(o)
	s.o.logger.Debug("event stream reconnects", "reason", o.err, "wait", d)
	if s.o.onReconnect != nil {
		s.task.call(func() { s.o.onReconnect(o.err, d) })
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.restart:
		s.backoff.retries = 0
	case <-s.ctx.Done():
	}
}

// connection makes one request and reads its stream to the end.
func (s *Stream) connection(url string, first chan<- error) outcome {
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	s.begin(cancel)
	defer s.over()
	silence := newWatchdog(min(s.o.idle, answerTimeout), func() { cancel(ErrIdleTimeout) })
	defer silence.stop()

	resp, err := s.request(ctx, url)
	if err != nil {
		return outcome{err: why(ctx, err)}
	}
	// A transport of the caller's may not end a read when the context ends.
	closed := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		defer close(closed)
		resp.Body.Close()
	})
	defer func() {
		if release() {
			resp.Body.Close()
		} else {
			<-closed
		}
	}()
	silence.pause()
	if o := s.check(resp); o.err != nil {
		return o
	}
	s.opened(resp)
	if first != nil {
		first <- nil
	}
	select {
	case <-s.started:
	case <-ctx.Done():
		return outcome{err: context.Cause(ctx), opened: true}
	}

	began := time.Now()
	silence.d = s.o.idle
	o := s.read(ctx, sse.NewDecoder(&watched{resp.Body, silence}, s.decoderOptions()...))
	o.opened, o.lasted = true, time.Since(began)
	return o
}

// begin makes Restart end this connection. A restart that was asked for before is what now begins.
func (s *Stream) begin(cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancelConn = cancel
	select {
	case <-s.restart:
	default:
	}
}

func (s *Stream) over() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancelConn = nil
}

func (s *Stream) decoderOptions() []sse.DecoderOption {
	list := []sse.DecoderOption{sse.WithLastEventID(s.lastID), sse.WithLimits(s.o.maxLine, s.o.maxEvent)}
	if f := s.o.onComment; f != nil {
		list = append(list, sse.WithCommentHook(func(c string) { s.task.call(func() { f(c) }) }))
	}
	return list
}

func (s *Stream) read(ctx context.Context, d *sse.Decoder) (o outcome) {
	for {
		m, err := d.Next()
		s.lastID = d.LastEventID()
		if retry, ok := d.Retry(); ok {
			s.backoff.retry, s.backoff.named = retry, true
		}
		if err != nil {
			o.err = why(ctx, err)
			o.final = errors.Is(err, sse.ErrLineTooLong) || errors.Is(err, sse.ErrEventTooLarge)
			return o
		}
		s.deliver(s.event(m))
		// More may have been read already, but who restarts or closes the stream wants no more of it.
		if ctx.Err() != nil {
			o.err = context.Cause(ctx)
			return o
		}
	}
}

// why returns the reason for which a connection was cut, if it was cut by this side, else the error.
func why(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
