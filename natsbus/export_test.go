package natsbus

// Streams returns the names of a namespace's streams under the default prefix.
func Streams(namespace string) (log, register string) {
	n := namesOf("sse", namespace)
	return n.log, n.register
}

// EntrySubject returns a subject of the namespace's log, under the default prefix.
func EntrySubject(namespace, producer string) string {
	return namesOf("sse", namespace).batches(producer)
}

// WithSnapshots has a snapshot of the register made after that many bytes.
func WithSnapshots(bytes int) Option {
	return func(o *options) error {
		o.snapshot = bytes
		return nil
	}
}
