// Package natsbus is the backplane on NATS JetStream.
package natsbus

import _ "github.com/nats-io/nats.go/jetstream"
