package broker_test

import (
	"slices"
	"testing"

	"github.com/sseplane/sseplane/broker"
)

func TestAudiences(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		joe1 := connect(t, a, "joe", broker.FollowTopics("red", "blue"))
		joe2 := connect(t, b, "joe")
		ann := connect(t, b, "ann", broker.FollowTopics("blue"))

		publish(t, a, broker.Everyone(), text("everyone"))
		publish(t, a, broker.Topics("red"), text("red"))
		publish(t, a, broker.Topics("blue"), text("blue"))
		publish(t, a, broker.Topics("blue", "red", "blue", "green"), text("several")) // once per session
		publish(t, a, broker.ToClient("joe"), text("joe"))
		publish(t, a, broker.ToSession(joe2.conn.SessionId()), text("session"))
		publish(t, a, broker.Topics("green"), text("nobody"))
		must(t, a.Broadcast(text("broadcast")))
		must(t, a.Send("ann", text("send")))

		joe1.wants("everyone", "red", "blue", "several", "joe", "broadcast")
		joe2.wants("everyone", "joe", "session", "broadcast")
		ann.wants("everyone", "blue", "several", "broadcast", "send")
	})
}

// The same events, in the same order and as often, come from the window.
func TestAudiencesWhenResuming(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		r := connect(t, a, "joe", broker.FollowTopics("red", "blue"))
		r.wants()
		session := r.conn.SessionId()
		r.leave()
		publish(t, a, broker.Everyone(), text("everyone"))
		publish(t, a, broker.Topics("blue", "red"), text("several"))
		publish(t, a, broker.Topics("green"), text("nobody"))
		publish(t, a, broker.ToClient("joe"), text("joe"))
		publish(t, a, broker.ToClient("ann"), text("ann"))
		publish(t, a, broker.ToSession(session), text("old session"))
		publish(t, a, broker.Topics("red"), text("red"))
		connectFrom(t, b, "joe", r.lastID(), broker.FollowTopics("red", "blue")).wants("everyone", "several", "joe", "red")
		connectFrom(t, b, "joe", r.lastID()).wants("everyone", "joe") // no topics: not theirs
	})
}

func TestNobodyIsNoAudience(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		for _, to := range []broker.Audience{{}, broker.Topics()} {
			_, err := b.Publish(t.Context(), to, text("x"))
			mustBe(t, err, broker.ErrInvalidName)
		}
	})
}

// The topics that were given may be used again by the caller.
func TestAudienceKeepsNothingOfItsArguments(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		topics := []string{"z", "a"}
		r := connect(t, b, "joe", broker.FollowTopics(topics...))
		to := broker.Topics(topics...)
		if topics[0] != "z" {
			t.Error("Topics has sorted its argument")
		}
		topics[0], topics[1] = "other", "other"
		publish(t, b, to, text("x"))
		publish(t, b, broker.Topics("other"), text("not theirs"))
		r.wants("x")
	})
}

func TestExcept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		a, b := nodes[0], nodes[1]
		sender := connect(t, a, "joe", broker.FollowTopics("room"))
		second := connect(t, b, "joe", broker.FollowTopics("room"))
		but := broker.Except(sender.conn.SessionId())
		for _, to := range []broker.Audience{broker.Everyone(), broker.Topics("room", "hall"), broker.ToClient("joe")} {
			publish(t, b, to, text("x"), but)
		}
		must(t, b.Broadcast(text("y"), but))
		must(t, b.Send("joe", text("z"), but))
		sender.wants()
		second.wants("x", "x", "x", "y", "z")
	})
}

func TestExceptWithAnImpossibleSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t)
		_, err := b.Publish(t.Context(), broker.Everyone(), text("x"), broker.Except(badNames["over limit"]))
		mustBe(t, err, broker.ErrInvalidName)
	})
}

func TestExceptSeveral(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, _ := cluster(t, 2)
		joe, ann, tom := connect(t, nodes[0], "joe"), connect(t, nodes[1], "ann"), connect(t, nodes[1], "tom")
		but := func(r *reader) broker.PublishOption { return broker.Except(r.conn.SessionId()) }
		none := broker.Except("")
		publish(t, nodes[0], broker.Everyone(), text("tom"), but(joe), none, but(ann), none)
		publish(t, nodes[0], broker.Everyone(), text("ann"), but(tom), but(joe))
		publish(t, nodes[0], broker.Everyone(), text("all"), none, broker.IdempotencyKey(""))
		publish(t, nodes[0], broker.Everyone(), text("all"), none, broker.IdempotencyKey(""))
		joe.wants("all", "all")
		ann.wants("ann", "all", "all")
		tom.wants("tom", "all", "all")
		_, err := nodes[0].Publish(t.Context(), broker.Everyone(), text("x"), slices.Repeat([]broker.PublishOption{but(joe)}, 1001)...)
		mustBe(t, err, broker.ErrInvalidName)
	})
}
