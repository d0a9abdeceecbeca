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
