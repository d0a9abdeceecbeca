package sse_test

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sseplane/sseplane/sse"
)

func ExampleEncoder() {
	enc := sse.NewEncoder(os.Stdout)
	enc.Encode(sse.Message{Retry: 3 * time.Second})
	enc.Encode(sse.StringEvent{Event: "notice", Data: "maintenance at noon,\nback at one"})
	enc.Encode(&sse.JsonEvent{Id: "7", Data: map[string]int{"temperature": 21}})
	// Output:
	// retry: 3000
	//
	// event: notice
	// data: maintenance at noon,
	// data: back at one
	//
	// id: 7
	// data: {"temperature":21}
}

func ExampleDecoder() {
	stream := strings.NewReader("id: 7\ndata: first\n\n: still here\n\nevent: notice\ndata: two\ndata: lines\n\nid: 8\n\n")
	dec := sse.NewDecoder(stream, sse.WithCommentHook(func(c string) { fmt.Printf("comment %q\n", c) }))
	for {
		m, err := dec.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("id %q type %q data %q\n", m.ID, m.Event, m.Data)
	}
	fmt.Println("continue after", dec.LastEventID())
	// Output:
	// id "7" type "" data "first"
	// comment "still here"
	// id "7" type "notice" data "two\nlines"
	// continue after 8
}

func ExampleNewBlock() {
	block, err := sse.NewBlock(sse.StringEvent{Data: "once for all readers"})
	if err != nil {
		fmt.Println(err)
		return
	}
	os.Stdout.Write(append(sse.AppendID(nil, "42"), block.Bytes...))

	_, err = sse.NewBlock(sse.StringEvent{Event: "x\ndata: forged", Data: "a"})
	fmt.Println(err)
	// Output:
	// id: 42
	// data: once for all readers
	//
	// sse: line break in event
}
