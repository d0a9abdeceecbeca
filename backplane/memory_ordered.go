package backplane

import (
	"container/list"
	"iter"
)

// ordered is a map that is iterated in the order of insertion.
type ordered[K comparable, V any] struct {
	byKey map[K]*list.Element
	order list.List // of *pair[K, V]
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

func newOrdered[K comparable, V any]() *ordered[K, V] {
	return &ordered[K, V]{byKey: make(map[K]*list.Element)}
}

func (o *ordered[K, V]) len() int { return len(o.byKey) }

func (o *ordered[K, V]) get(key K) (V, bool) {
	e, ok := o.byKey[key]
	if !ok {
		var zero V
		return zero, false
	}
	return e.Value.(*pair[K, V]).value, true
}

func (o *ordered[K, V]) has(key K) bool {
	_, ok := o.byKey[key]
	return ok
}

// set replaces the value of key where it stands, or adds it at the back.
func (o *ordered[K, V]) set(key K, value V) {
	if e, ok := o.byKey[key]; ok {
		e.Value.(*pair[K, V]).value = value
		return
	}
	o.byKey[key] = o.order.PushBack(&pair[K, V]{key, value})
}

// moveToBack sets the value of key and makes it the last.
func (o *ordered[K, V]) moveToBack(key K, value V) {
	o.set(key, value)
	o.order.MoveToBack(o.byKey[key])
}

func (o *ordered[K, V]) delete(key K) {
	if e, ok := o.byKey[key]; ok {
		o.order.Remove(e)
		delete(o.byKey, key)
	}
}

// all iterates from the front. The element that it is at may be deleted.
func (o *ordered[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for e := o.order.Front(); e != nil; {
			next := e.Next()
			p := e.Value.(*pair[K, V])
			if !yield(p.key, p.value) {
				return
			}
			e = next
		}
	}
}
