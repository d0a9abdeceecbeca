package broker

// fifo is a queue that is also read by index. Popping gives the space back now
// and then, so that a long-lived queue does not grow.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) len() int { return len(f.items) - f.head }

// at returns the i-th item from the front.
func (f *fifo[T]) at(i int) T { return f.items[f.head+i] }

func (f *fifo[T]) push(item T) { f.items = append(f.items, item) }

func (f *fifo[T]) pop() T {
	var none T
	item := f.items[f.head]
	f.items[f.head] = none
	f.head++
	if f.head > 32 && f.head > len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		if n < cap(f.items)/4 {
			f.items = append(make([]T, 0, 2*n), f.items[:n]...)
		} else {
			f.items = f.items[:n]
		}
		f.head = 0
	}
	return item
}
