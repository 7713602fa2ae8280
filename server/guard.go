package server

import (
	"context"
	"net"
	"net/http"
	"strings"

	"github.com/sluice-sql/sluice/internal/loopback"
)

// guardTCP lets in who knows the token, and no browser page. The Unix socket needs none of this: no browser
// reaches it, and its file mode says who may.
//
// Requests that bring rows may have the source's own token instead, which whoever answers them looks at.
func guardTCP(token string, addr net.Addr, next http.Handler) http.Handler {
	_, port, _ := net.SplitHostPort(addr.String())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		why, hint := loopback.Refuse(r, port)
		known := loopback.Bearer(r, token)
		switch {
		case why != "":
			reply(w, newError(CodeForbidden, hint, "%s", why))
		case known || r.URL.Path == "/healthz":
			next.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, ingestPath):
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), withoutToken{}, true)))
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="sluice"`)
			reply(w, newError(CodeUnauthorized, `send the header "Authorization: Bearer …" with the token from STATE_DIR/token`, "the request has no valid token"))
		}
	})
}

// withoutToken marks a request that came by TCP and does not have the daemon's token.
type withoutToken struct{}

func hasToken(r *http.Request) bool { return r.Context().Value(withoutToken{}) == nil }
