package redisbus

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sseplane/sseplane/backplane"
)

var errRecord = errors.New("redisbus: malformed record of a session")

// frame makes text self-delimiting, as common.lua does.
func frame(text string) string { return fmt.Sprintf("%04d%s", len(text), text) }

func unframe(s string) (text, rest string, err error) {
	if len(s) < 4 {
		return "", "", errRecord
	}
	n, err := strconv.Atoi(s[:4])
	if err != nil || n < 0 || len(s) < 4+n {
		return "", "", errRecord
	}
	return s[4 : 4+n], s[4+n:], nil
}

// sessionRest is the part of a record that the scripts do not read: the name of the
// node and the topics.
func sessionRest(s *backplane.Session) string {
	var b strings.Builder
	b.WriteString(frame(s.NodeName))
	for _, t := range s.Topics {
		b.WriteString(frame(t))
	}
	return b.String()
}

// parseSession reads a record, which is, but for its first part, as register.lua says.
func parseSession(id, record string) (backplane.Session, error) {
	s := backplane.Session{ID: id}
	var err error
	if s.Client, record, err = unframe(record); err != nil {
		return s, err
	}
	if s.Node, record, err = unframe(record); err != nil {
		return s, err
	}
	if record == "" {
		return s, errRecord
	}
	if s.NodeName, record, err = unframe(record[1:]); err != nil {
		return s, err
	}
	for record != "" {
		var topic string
		if topic, record, err = unframe(record); err != nil {
			return s, err
		}
		s.Topics = append(s.Topics, topic)
	}
	return s, nil
}

// debtField is the name of a debt in Redis: its kind in one letter, and its name.
func debtField(d backplane.Debt) string {
	if d.Kind == backplane.ClientLeft {
		return "c" + d.Session.Client
	}
	return "s" + d.Session.ID
}

func parseDebt(field, record string) (backplane.Debt, error) {
	switch {
	case strings.HasPrefix(field, "s"):
		s, err := parseSession(field[1:], record)
		return backplane.Debt{Kind: backplane.SessionEnded, Session: s}, err
	case strings.HasPrefix(field, "c"):
		return backplane.Debt{Kind: backplane.ClientLeft, Session: backplane.Session{Client: field[1:]}}, nil
	}
	return backplane.Debt{}, errRecord
}
