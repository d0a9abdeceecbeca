package natsbus

import (
	"container/list"
	"iter"
)

// queue is a map that keeps the order of insertion.
type queue[K comparable, V any] struct {
	items map[K]*list.Element
	order list.List // of *item[K, V]
}

type item[K comparable, V any] struct {
	key   K
	value V
}

func newQueue[K comparable, V any]() *queue[K, V] {
	return &queue[K, V]{items: make(map[K]*list.Element)}
}

func (q *queue[K, V]) len() int { return len(q.items) }

func (q *queue[K, V]) get(key K) (v V, ok bool) {
	e, ok := q.items[key]
	if ok {
		v = e.Value.(*item[K, V]).value
	}
	return v, ok
}

// put replaces the value of key where it stands, or adds it at the back.
func (q *queue[K, V]) put(key K, v V) {
	if e, ok := q.items[key]; ok {
		e.Value.(*item[K, V]).value = v
		return
	}
	q.items[key] = q.order.PushBack(&item[K, V]{key, v})
}

func (q *queue[K, V]) remove(key K) {
	if e, ok := q.items[key]; ok {
		q.order.Remove(e)
		delete(q.items, key)
	}
}

// all iterates from the front. The item that it is at may be removed.
func (q *queue[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for e := q.order.Front(); e != nil; {
			next := e.Next()
			i := e.Value.(*item[K, V])
			if !yield(i.key, i.value) {
				return
			}
			e = next
		}
	}
}
