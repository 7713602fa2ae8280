package server

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-sql/sluice/internal/loopback"
)

// maxSocketPath is what fits into sockaddr_un on macOS, the smaller of the systems we run on.
const maxSocketPath = 103

// listenUnix listens on a socket that only its owner can open. A socket file that a killed daemon left is
// replaced; one that somebody answers on is not.
func listenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the socket's path has %d bytes, and the system allows %d: %s\nHint: name a shorter one with --socket", len(path), maxSocketPath, path)
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("look for an old socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is in the way: it is not a socket\nHint: remove it, or name another path with --socket", path)
	default:
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			_ = conn.Close()
			return nil, fmt.Errorf("another daemon listens on %s\nHint: stop it, or name another path with --socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove an old socket: %w", err)
		}
	}
	// Why umask: between bind and a chmod anyone could connect. It is the process's, and this is its start.
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen on socket %s: %w", path, err)
	}
	return l, nil
}

// listenTCP listens on a loopback address; elsewhere takes any port when that one is in use.
func listenTCP(address string, elsewhere bool) (net.Listener, error) {
	l, err := loopback.Listen(address)
	if errors.Is(err, loopback.ErrInUse) && elsewhere {
		host, _, _ := net.SplitHostPort(address)
		l, err = loopback.Listen(net.JoinHostPort(host, "0"))
	}
	if failed := new(net.OpError); errors.As(err, &failed) {
		err = fmt.Errorf("%w\nHint: choose another port with --listen, or --listen off", err)
	}
	return l, err
}

const tokenBytes = 32

// loadToken reads the token, and makes one in a new state directory.
func loadToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var random [tokenBytes]byte
		_, _ = rand.Read(random[:]) // never fails, see crypto/rand
		token := hex.EncodeToString(random[:])
		return token, writeFile(path, []byte(token+"\n"))
	}
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	switch {
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("the token in %s can be read by others (mode %04o)\nHint: remove it, and the daemon makes another", path, info.Mode().Perm())
	case len(token) < tokenBytes:
		return "", fmt.Errorf("the token in %s is too short\nHint: remove it, and the daemon makes another", path)
	}
	return token, nil
}
