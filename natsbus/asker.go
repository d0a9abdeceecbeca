package natsbus

import (
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// asker sends requests that have several answers, or several of which are under way
// in a known order, and hands the answers to whoever asked. It has one
// subscription for all, so that no answer can find that its subscription
// has not reached the server yet.
type asker struct {
	link  *link
	inbox string

	mu   sync.Mutex // guards what follows
	next uint64
	open map[uint64]chan<- answer
}

// answer is an answer to the request with that number.
type answer struct {
	n   int
	msg *nats.Msg
}

// question is a place to which answers come.
type question struct {
	asker   *asker
	id      uint64
	answers chan answer
}

func newAsker(l *link) (*asker, error) {
	a := &asker{link: l, inbox: l.nc.NewInbox() + ".", open: make(map[uint64]chan<- answer)}
	sub, err := l.nc.Subscribe(a.inbox+"*.*", a.deliver)
	if err != nil {
		return nil, err
	}
	// What is under way is bounded by those who ask.
	return a, sub.SetPendingLimits(-1, -1)
}

func (a *asker) deliver(m *nats.Msg) {
	id, n, ok := strings.Cut(strings.TrimPrefix(m.Subject, a.inbox), ".")
	if !ok {
		return
	}
	key, err1 := strconv.ParseUint(id, 36, 64)
	number, err2 := strconv.Atoi(n)
	if err1 != nil || err2 != nil {
		return
	}
	a.mu.Lock()
	to := a.open[key]
	a.mu.Unlock()
	select {
	case to <- answer{number, m}:
	default: // nobody asks any more, or more came than was asked for
	}
}

// ask begins a question with room for that many answers.
func (a *asker) ask(room int) *question {
	q := &question{asker: a, answers: make(chan answer, room)}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	q.id = a.next
	a.open[q.id] = q.answers
	return q
}

// send sends request n of the question.
func (q *question) send(n int, m *nats.Msg) error {
	m.Reply = q.asker.inbox + strconv.FormatUint(q.id, 36) + "." + strconv.Itoa(n)
	return tooLarge(q.asker.link.nc.PublishMsg(m))
}

func (q *question) close() {
	q.asker.mu.Lock()
	defer q.asker.mu.Unlock()
	delete(q.asker.open, q.id)
}
