package broker

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What a stream of the broker may cost, as a multiple of what it costs a bare loop in
// a handler of net/http.
const costLimit = 1.25

// BenchmarkBesideNetHTTP compares the broker with the least that a handler of net/http can
// do: wait for bytes on a channel of its own, write, flush. Both serve real sockets
// in this process, one after the other, round by round; the readers are in another
// process. It fails when the median of a ratio is over the limit.
func BenchmarkBesideNetHTTP(b *testing.B) {
	const (
		conns  = 2000
		events = 40
		rounds = 5
	)
	bare, br := newBareServer(), newHall(b, WithHeartbeat(time.Hour), WithMaxConnections(0))
	servers := []*costServer{
		{name: "net/http", handler: bare, publish: bare.publish, open: bare.open},
		{name: "broker", handler: br.broker.Handler(anyClient), publish: func() { _ = br.broker.Broadcast(benchEvent) }, open: func() int { return br.broker.Stats().Sessions }},
	}
	for _, s := range servers {
		s.start(b)
	}
	for b.Loop() {
		for range rounds {
			for _, s := range servers {
				s.round(b, conns, events)
			}
		}
	}
	cpu := medianRatio(servers[1].cpu, servers[0].cpu)
	memory := medianRatio(servers[1].memory, servers[0].memory)
	for _, s := range servers {
		fmt.Printf("%-9s %6.2f us of CPU per delivery, %6.0f bytes per idle connection (medians of %d rounds, %d connections)\n",
			s.name, median(s.cpu)*1e6, median(s.memory), len(s.cpu), conns)
	}
	fmt.Printf("the broker beside net/http: CPU %.2f times, memory %.2f times (limit %.2f)\n", cpu, memory, costLimit)
	b.ReportMetric(cpu, "cpu-ratio")
	b.ReportMetric(memory, "memory-ratio")
	b.ReportMetric(median(servers[1].cpu)*1e9, "cpu-ns/delivery")
	b.ReportMetric(median(servers[1].memory), "B/connection")
	if cpu > costLimit || memory > costLimit {
		b.Errorf("over the limit of %.2f times", costLimit)
	}
}

func anyClient(r *http.Request) (Client, error) { return Client{ID: r.URL.Query().Get("client")}, nil }

// medianRatio is the median of the ratios of the rounds: what disturbs the machine disturbs
// both halves of a round.
func medianRatio(a, b []float64) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return median(ratios)
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// bareServer is the loop to compare with.
type bareServer struct {
	mu    sync.Mutex
	conns map[chan []byte]struct{}
	seq   uint64
}

func newBareServer() *bareServer { return &bareServer{conns: make(map[chan []byte]struct{})} }

func (s *bareServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := make(chan []byte, 16)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	_ = control.Flush()
	for {
		select {
		case event := <-c:
			if _, err := w.Write(event); err != nil {
				return
			}
			if err := control.Flush(); err != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// publish sends an event of the size that the broker's have.
func (s *bareServer) publish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	event := fmt.Appendf(nil, "id: ~abcdefghijkl.%d\nevent: %s\ndata: %s\n\n", s.seq, benchEvent.Event, benchEvent.Data)
	for c := range s.conns {
		c <- event
	}
}

func (s *bareServer) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// costServer is one of those compared.
type costServer struct {
	name    string
	handler http.Handler
	publish func()
	open    func() int // connections
	addr    string

	cpu    []float64 // seconds per delivery, by round
	memory []float64 // bytes per connection, by round
}

func (s *costServer) start(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: s.handler}
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(func() { _ = server.Close() })
	s.addr = listener.Addr().String()
}

// round opens connections, measures them idle, and delivers events to them.
func (s *costServer) round(b *testing.B, conns, events int) {
	before := memoryInUse()
	readers := startReaders(b, s.addr, conns)
	defer func() {
		readers.stop()
		for s.open() > 0 {
			time.Sleep(time.Millisecond)
		}
	}()
	for s.open() < conns {
		time.Sleep(time.Millisecond)
	}
	s.deliver(readers, conns, 5) // buffers have their size
	s.memory = append(s.memory, float64(memoryInUse()-before)/float64(conns))

	start := cpuTime()
	s.deliver(readers, conns, events)
	s.cpu = append(s.cpu, (cpuTime()-start).Seconds()/float64(conns*events))
}

func (s *costServer) deliver(r *readers, conns, events int) {
	for range events {
		r.expect(conns)
		s.publish()
		r.await()
	}
}

// memoryInUse is what is in use of the heap and for stacks.
func memoryInUse() int64 {
	for range 4 { // each lets stacks shrink by half
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// readers is the other process.
type readers struct {
	b     *testing.B
	cmd   *exec.Cmd
	tell  *os.File
	heard *bufio.Reader
	total int
}

const readersEnv = "SSEPLANE_BENCH_READERS"

func startReaders(b *testing.B, addr string, conns int) *readers {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestBenchmarkReaders$")
	cmd.Env = append(os.Environ(), readersEnv+"="+addr+" "+strconv.Itoa(conns))
	in, tell, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stdin = in
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	_ = in.Close()
	return &readers{b: b, cmd: cmd, tell: tell, heard: bufio.NewReader(out)}
}

// expect says that n more events are to come; await waits for them.
func (r *readers) expect(n int) {
	r.total += n
	if _, err := fmt.Fprintln(r.tell, r.total); err != nil {
		r.b.Fatal(err)
	}
}

func (r *readers) await() {
	if line, err := r.heard.ReadString('\n'); err != nil {
		r.b.Fatalf("the readers: %q, %v", line, err)
	}
}

func (r *readers) stop() {
	_ = r.tell.Close()
	_ = r.cmd.Wait()
}

// TestBenchmarkReaders is the process that reads. Run by itself it does nothing.
func TestBenchmarkReaders(t *testing.T) {
	job := os.Getenv(readersEnv)
	if job == "" {
		t.Skip("runs as a part of BenchmarkBesideNetHTTP")
	}
	addr, count, _ := strings.Cut(job, " ")
	n, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	var received atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for i := range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "GET /?client=%d HTTP/1.1\r\nHost: x\r\n\r\n", i); err != nil {
			t.Fatal(err)
		}
		go countEvents(ctx, c, &received)
	}
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		target, err := strconv.ParseInt(orders.Text(), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		for received.Load() < target {
			time.Sleep(200 * time.Microsecond)
		}
		fmt.Println(target)
	}
	os.Exit(0) // without a word to the parent's reader
}

// countEvents counts the events of the benchmark: they end in "!" and an empty line.
func countEvents(ctx context.Context, c net.Conn, received *atomic.Int64) {
	buf := make([]byte, 4096)
	rest := 0
	for ctx.Err() == nil {
		n, err := c.Read(buf[rest:])
		if err != nil {
			return
		}
		end := rest + n
		received.Add(int64(bytes.Count(buf[:end], []byte("!\n\n"))))
		rest = 0
		for _, tail := range []string{"!\n", "!"} { // may be the beginning of one
			if bytes.HasSuffix(buf[:end], []byte(tail)) {
				rest = copy(buf, tail)
				break
			}
		}
	}
}
