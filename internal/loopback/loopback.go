// Package loopback serves HTTP on this machine's own addresses, for programs and not for web pages.
package loopback

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// ErrInUse marks (errors.Is) an address that another program listens on.
var ErrInUse = errors.New("another program listens there")

// Listen listens on a loopback address.
//
// Why no other: what crosses a network needs TLS, and users of its own; a proxy has both.
func Listen(address string) (net.Listener, error) {
	if err := Check(address); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w: %w", ErrInUse, err)
	}
	if err != nil {
		err = fmt.Errorf("listen on TCP %s: %w", address, err)
	}
	return l, err
}

// Check refuses what is not a loopback address with a port.
func Check(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("read the TCP address: %w\nHint: write it as 127.0.0.1:8490", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address\nHint: listen on 127.0.0.1 and let a proxy with TLS and users of its own face the network", address)
	}
	return nil
}

// Refuse says why a request that came to a port is not to be answered, and what to do instead; both are empty for requests
// of programs.
//
// A page can make its visitor's browser send requests to 127.0.0.1, and by rebinding its own host name to 127.0.0.1 also read
// the answers. The first is seen by Origin and Sec-Fetch-Site, the second by Host.
func Refuse(r *http.Request, port string) (why, hint string) {
	if !localHost(r.Host, port) {
		return fmt.Sprintf("the request is for host %q", r.Host), "use the address that sluice listens on"
	}
	if !sameOrigin(r) {
		return "requests of web pages are refused", "use the sluice command, or send the request from a program"
	}
	return "", ""
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

// Bearer says whether a request has a token, in a time that does not depend on where they differ.
func Bearer(r *http.Request, token string) bool {
	scheme, given, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return ok && strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare([]byte(given), []byte(token)) == 1
}
