package broker

// topic is one audience key and the sessions of this node that are in it: the
// broadcast, a topic, a client, or a single session. The node's lock guards it.
type topic struct {
	key      key
	sessions []*session
}

// subscription is a session's place in a topic.
type subscription struct {
	topic *topic
	index int    // in topic.sessions
	since uint64 // entries up to here do not count
}

// subscribe puts the session into the topic from a position on, or leaves it
// as it is if it is in there already.
func (n *node) subscribe(s *session, k key, since uint64) bool {
	if s.subscription(k) != nil {
		return false
	}
	t := n.topics[k]
	if t == nil {
		t = &topic{key: k}
		n.topics[k] = t
	}
	s.subs = append(s.subs, subscription{topic: t, index: len(t.sessions), since: since})
	t.sessions = append(t.sessions, s)
	return true
}

// unsubscribe takes the session out of the topic, and out of its queue what it
// would have got for this topic alone.
func (n *node) unsubscribe(s *session, k key) bool {
	for i := range s.subs {
		if s.subs[i].topic.key != k {
			continue
		}
		n.removeFrom(s.subs[i])
		last := len(s.subs) - 1
		s.subs[i] = s.subs[last]
		s.subs[last] = subscription{}
		s.subs = s.subs[:last]
		s.dropUnwanted()
		return true
	}
	return false
}

func (n *node) unsubscribeAll(s *session) {
	for _, sub := range s.subs {
		n.removeFrom(sub)
	}
	s.subs = nil
}

// removeFrom fills the gap in the topic with its last session.
func (n *node) removeFrom(sub subscription) {
	t := sub.topic
	last := len(t.sessions) - 1
	moved := t.sessions[last]
	t.sessions[sub.index] = moved
	moved.subscription(t.key).index = sub.index
	t.sessions[last] = nil
	t.sessions = t.sessions[:last]
	if last == 0 {
		delete(n.topics, t.key)
	}
}

func (s *session) subscription(k key) *subscription {
	for i := range s.subs {
		if s.subs[i].topic.key == k {
			return &s.subs[i]
		}
	}
	return nil
}

// topicNames returns the application's topics that the session follows.
func (s *session) topicNames() []string {
	var names []string
	for _, sub := range s.subs {
		if sub.topic.key.kind == kindTopic {
			names = append(names, sub.topic.key.name)
		}
	}
	return names
}
