package middleware

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/handlers"
	"github.com/klauspost/compress/gzhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

// pretenders have a Flush that does not always flush: what they wrap may be unable
// to, or they ignore it until something has been written.
var pretenders = []arrangement{
	{name: "gin in a wrapper with Unwrap alone", wrap: func(h http.Handler) http.Handler {
		return unwrapOnly(underGin(h))
	}},
	{name: "gin in http.TimeoutHandler", refused: true, wrap: func(h http.Handler) http.Handler {
		return http.TimeoutHandler(underGin(h), time.Hour, "too slow")
	}},
	{name: "echo in http.TimeoutHandler", refused: true, wrap: func(h http.Handler) http.Handler {
		return http.TimeoutHandler(underEcho(h), time.Hour, "too slow")
	}},
	{name: "gzhttp", wrap: func(h http.Handler) http.Handler { return gzhttp.GzipHandler(h) }},
	{name: "a stack of them", wrap: func(h http.Handler) http.Handler {
		return otelhttp.NewHandler(handlers.CombinedLoggingHandler(io.Discard, gzhttp.GzipHandler(underChi(h, chiLogger))), "events")
	}},
}

func TestPretenders(t *testing.T) { testAll(t, pretenders) }
