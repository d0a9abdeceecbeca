// Package integration holds sseplane against the real world: other people's
// middleware, real containers, a load balancer, a browser, and chaos. It is a module of
// its own, so that what the tests need never reaches a user's module graph.
//
//   - middleware: the broker below other people's routers and middleware, and
//     http.Server's Shutdown with open streams
//   - buses: the conformance suite against every kind of deployment of the buses
//   - compose: docker-compose.yml as a user starts it, seen with a browser
//   - chaos: replicas, a load balancer and a bus in containers, hundreds of clients, and
//     someone who breaks things
//
// integration/run prepares the machine and runs all of it; CONTRIBUTING.md says what
// that takes.
package integration
