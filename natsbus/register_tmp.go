package natsbus

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/sseplane/sseplane/backplane"
)

var errTODO = errors.New("natsbus: the register is not there yet")

type replica struct{}

func (r *replica) init(*busLog) {}

func (l *busLog) Renew(ctx context.Context, node string, ttl time.Duration) error { return errTODO }
func (l *busLog) Release(ctx context.Context, node string) error                  { return errTODO }
func (l *busLog) Update(ctx context.Context, node string, add []backplane.Session, end []string) (backplane.UpdateResult, error) {
	return backplane.UpdateResult{}, errTODO
}
func (l *busLog) Collect(ctx context.Context, node string, max int) ([]backplane.Debt, error) {
	return nil, errTODO
}
func (l *busLog) Settle(ctx context.Context, node string, debts []backplane.Debt) error {
	return errTODO
}
func (l *busLog) Sessions(ctx context.Context, clients ...string) iter.Seq2[backplane.Session, error] {
	return func(yield func(backplane.Session, error) bool) { yield(backplane.Session{}, errTODO) }
}
func (l *busLog) Presence(ctx context.Context, clients ...string) ([]backplane.Presence, error) {
	return nil, errTODO
}
func (l *busLog) Put(ctx context.Context, facts []backplane.Fact) error { return errTODO }
func (l *busLog) Facts(ctx context.Context, clients ...string) ([]backplane.Fact, error) {
	return nil, errTODO
}
