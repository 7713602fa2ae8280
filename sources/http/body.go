package http

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// budget is memory that requests share.
type budget struct {
	mu        sync.Mutex
	used, max int64
}

func (b *budget) take(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n > b.max {
		return false
	}
	b.used += n
	return true
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
}

// reserve takes memory for a body before it is read.
func (h *Handler) reserve(r *http.Request) (release func(), err error) {
	n := r.ContentLength
	if n > h.opt.MaxBodyBytes {
		return nil, h.tooLarge()
	}
	if n < 0 || r.Header.Get("Content-Encoding") != "" {
		n = h.opt.MaxBodyBytes
	}
	if !h.memory.take(n) {
		p := problem(http.StatusTooManyRequests, "busy", "send it again in a second, or fewer at once", "too many bodies are being read")
		p.retryAfter = 1
		return nil, p
	}
	return func() { h.memory.give(n) }, nil
}

func (h *Handler) tooLarge() error {
	return problem(http.StatusRequestEntityTooLarge, "too_large", "send it as several requests, each with a key of its own, or raise the source's option max_body_bytes", "the body is longer than %d bytes", h.opt.MaxBodyBytes)
}

// read reads a body, unpacked.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// Why not an error: what is no network connection cannot stall.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.opt.BodyTimeout))
	var from io.Reader = http.MaxBytesReader(w, r.Body, h.opt.MaxBodyBytes)
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		unpacked, err := gzip.NewReader(from)
		if err != nil {
			return nil, h.unreadable(err)
		}
		from = unpacked
	default:
		w.Header().Set("Accept-Encoding", "gzip")
		return nil, problem(http.StatusUnsupportedMediaType, "unsupported", "use gzip, or none", "the body's Content-Encoding is %q", encoding)
	}
	var body bytes.Buffer
	if r.ContentLength > 0 {
		body.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	n, err := body.ReadFrom(io.LimitReader(from, h.opt.MaxBodyBytes+1))
	if err != nil {
		return nil, h.unreadable(err)
	}
	if n > h.opt.MaxBodyBytes {
		return nil, h.tooLarge()
	}
	return body.Bytes(), nil
}

// unreadable says why a body could not be read to its end.
func (h *Handler) unreadable(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return h.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem(http.StatusRequestTimeout, "timeout", "send smaller bodies", "the body did not arrive within %s", h.opt.BodyTimeout)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return problem(http.StatusBadRequest, "bad_body", "", "the body is not what gzip writes")
	}
	return problem(http.StatusBadRequest, "bad_body", "", "the body could not be read to its end: %v", err)
}

func send(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic("http: an answer cannot be encoded: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client is gone: nobody to tell
}
