// Package sse reads and writes the event-stream format of Server-Sent Events, as the HTML standard defines it in
// section 9.2 (https://html.spec.whatwg.org/multipage/server-sent-events.html).
//
// Writing, what most people come for:
//
//	w.Header().Set("Content-Type", sse.ContentType)
//	enc := sse.NewEncoder(w)
//	enc.Encode(sse.StringEvent{Event: "notice", Data: "maintenance at noon"})
//	enc.Encode(&sse.JsonEvent{Id: "7", Data: map[string]int{"temperature": 21}})
//	http.NewResponseController(w).Flush()
//
// Reading:
//
//	dec := sse.NewDecoder(resp.Body)
//	for m, err := dec.Next(); err == nil; m, err = dec.Next() {
//		fmt.Println(m.ID, m.Event, m.Data)
//	}
//
// What is written is read back the same by every reader that keeps to the standard: text becomes valid UTF-8, line
// ends in data become LF, and what the format cannot carry (a line break in an id or a type) is an error, never sent in
// part. Nothing in a value can become a field of its own. What is read may be any bytes: it is bounded by limits, takes
// time in proportion to its length, and never panics.
//
// The package does no networking. Connections and reconnecting are the business of packages client and broker.
package sse

// ContentType is the media type of an event stream.
const ContentType = "text/event-stream"
