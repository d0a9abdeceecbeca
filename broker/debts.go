package broker

import (
	"context"
	"slices"

	"github.com/sseplane/sseplane/backplane"
)

// disown forgets the debts under an id that others pay now.
func (r *roster) disown(owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.disownLocked(owner)
}

func (r *roster) disownLocked(owner string) {
	r.callbacks.forgetDebts(owner)
	r.debts = slices.DeleteFunc(r.debts, func(d debt) bool { return d.owner == owner })
	delete(r.owed, owner)
}

// owes reports whether this node has unsettled debts under the id.
func (r *roster) owes(owner string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.owed[owner] > 0
}

// oweLocked queues the callbacks for debts.
func (r *roster) oweLocked(owner string, debts []backplane.Debt) {
	r.owed[owner] += len(debts)
	for _, d := range debts {
		if r.paid.has(d.Session.ID) && d.Kind == backplane.SessionEnded {
			r.debts = append(r.debts, debt{Debt: d, owner: owner}) // it is back: the bus has not settled it, or has lost that
			continue
		}
		r.callbacks.pay(debt{Debt: d, owner: owner})
	}
}

// settleAll strikes debts off, whoever's of this node's ids they are.
func (r *roster) settleAll(ctx context.Context, debts []debt) error {
	byOwner := make(map[string][]backplane.Debt)
	for _, d := range debts {
		byOwner[d.owner] = append(byOwner[d.owner], d.Debt)
	}
	for owner, list := range byOwner {
		if err := r.log.Settle(ctx, owner, list); err != nil {
			return err // to settle some of them again does no harm
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for owner, list := range byOwner {
		if r.owed[owner] -= len(list); r.owed[owner] <= 0 {
			delete(r.owed, owner)
		}
	}
	return nil
}

// settleRest strikes off what run has been kept from settling, so that nobody else pays it again.
// It is called when run has returned.
func (r *roster) settleRest(ctx context.Context) {
	r.mu.Lock()
	debts := r.debts
	r.debts = nil
	r.mu.Unlock()
	if err := r.settleAll(ctx, debts); err != nil {
		r.logger.Warn("sseplane: settling callbacks failed; others may repeat them", "error", err)
	}
}

func (r *roster) settle(d debt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.debts = append(r.debts, d)
	r.paid.add(d.Session.ID)
	signalFunc(r.signal)()
}

// maxPaid bounds what is remembered of callbacks that have run.
const maxPaid = 50_000
