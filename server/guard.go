package server

import (
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
)

// guardTCP lets in who knows the token, and no browser page: a page can make its visitor's browser send
// requests to 127.0.0.1, and by rebinding its own host name to 127.0.0.1 also read the answers. The first is
// seen by Origin and Sec-Fetch-Site, the second by Host. The Unix socket needs none of this: no browser
// reaches it, and its file mode says who may.
func guardTCP(token string, addr net.Addr, next http.Handler) http.Handler {
	_, port, _ := net.SplitHostPort(addr.String())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !localHost(r.Host, port):
			reply(w, newError(CodeForbidden, "use the address that `sluice serve` printed", "the request is for host %q", r.Host))
		case !sameOrigin(r):
			reply(w, newError(CodeForbidden, "use the sluice command, or send the request from a program", "requests of web pages are refused"))
		case r.URL.Path != "/healthz" && !authorized(r, token):
			w.Header().Set("WWW-Authenticate", `Bearer realm="sluice"`)
			reply(w, newError(CodeUnauthorized, `send the header "Authorization: Bearer …" with the token from STATE_DIR/token`, "the request has no valid token"))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func localHost(hostport, port string) bool {
	host, p, err := net.SplitHostPort(hostport)
	if err != nil || p != port {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return false
	}
	origin := r.Header.Get("Origin")
	return origin == "" || origin == "http://"+r.Host
}

func authorized(r *http.Request, token string) bool {
	scheme, given, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return ok && strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare([]byte(given), []byte(token)) == 1
}
