package chaos

import (
	"testing"
)

// TestExplain: a history with one event taken out is found out, and what is printed then is
// what one needs to see: what the client got around the gap, who accepted the missing event and
// when, what was broken at that time, and nothing of others.
func TestExplain(t *testing.T) {
	history := []Record{
		{At: 1, Kind: Fault, Node: "c", Note: "long before"},
		{At: 29, Kind: Opened, Client: "joe", Session: "s1"},
		{At: 30, Kind: Published, Topic: "news", N: 1, Position: "~1.1"},
		{At: 30.1, Kind: Received, Client: "joe", Topic: "news", N: 1, Position: "~1.1"},
		{At: 30.1, Kind: Received, Client: "ann", Topic: "news", N: 1, Position: "~1.1"},
		{At: 31, Kind: Fault, Node: "a", Note: "killed for 1s"},
		{At: 31.1, Kind: Closed, Client: "joe", Session: "s1", Note: "EOF"},
		{At: 31.2, Kind: Doubted, Topic: "news", N: 2, Note: "502 Bad Gateway"},
		{At: 31.3, Kind: Published, Topic: "news", N: 2, Position: "~1.2"},
		{At: 31.4, Kind: Published, Topic: "sports", N: 7, Position: "~1.3"},
		{At: 31.5, Kind: Received, Client: "ann", Topic: "news", N: 2, Position: "~1.2"},
		{At: 32, Kind: Opened, Client: "joe", Session: "s2"},
		{At: 32.1, Kind: Published, Topic: "news", N: 3, Position: "~1.4"},
		{At: 32.2, Kind: Received, Client: "joe", Topic: "news", N: 3, Position: "~1.4"},
		{At: 32.2, Kind: Received, Client: "ann", Topic: "news", N: 3, Position: "~1.4"},
	}
	violations := Check(history, Rules{
		Topics: map[string][]string{"joe": {"news"}, "ann": {"news"}}, Last: map[string]int{"news": 3, "sports": 7},
	})
	if len(violations) != 1 {
		t.Fatalf("got %v, want one violation", violations)
	}
	want := `an event is missing, and no reset said so: client joe, topic news, numbers 2 to 2 (at 32.200 s)
     29.000 opened    joe s1
     30.000 published news ~1.1 #1
     30.100 received  joe news ~1.1 #1
     31.000 fault     a killed for 1s
     31.100 closed    joe s1 EOF
     31.200 doubted   news 502 Bad Gateway #2
     31.300 published news ~1.2 #2
     32.000 opened    joe s2
     32.100 published news ~1.4 #3
     32.200 received  joe news ~1.4 #3
`
	if got := Explain(history, violations[0]); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
