// Package s3test runs an S3 server in the test's process that breaks when it is told to.
package s3test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Bucket is the one that a new server has.
const Bucket = "checkpoints"

// Fault is what becomes of a request.
type Fault int

const (
	// None: it is answered.
	None Fault = iota
	// Fail: 500, and nothing is done.
	Fail
	// SlowDown: 503, as a server that throttles says it.
	SlowDown
	// Stall: no answer until the client gives up or the server is closed; nothing is done.
	Stall
	// Short: the answer's body ends half-way.
	Short
	// Lost: it is done, and the connection breaks before the answer.
	Lost
	// Denied: 403.
	Denied
)

// Server is an S3 server with one bucket.
type Server struct {
	t       testing.TB
	backend *s3mem.Backend
	http    *httptest.Server
	closing chan struct{}

	mu       sync.Mutex
	fault    func(*http.Request) Fault
	requests []string
}

// New starts a server on 127.0.0.1. It ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, backend: s3mem.New(), closing: make(chan struct{})}
	if err := s.backend.CreateBucket(Bucket); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(s.backend, gofakes3.WithTimeSkewLimit(0)).Server()
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(fake, w, r) }))
	var once sync.Once
	t.Cleanup(func() {
		once.Do(func() { close(s.closing) })
		s.http.Close()
	})
	return s
}

// Env is what a program needs to be let in.
func Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=verysecret"}
}

// SetEnv sets Env for the test's own process.
func SetEnv(t testing.TB) {
	t.Helper()
	for _, v := range Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
}

// URL is that of a prefix in the bucket.
func (s *Server) URL(prefix string) string {
	return "s3://" + Bucket + "/" + prefix + "?endpoint=" + s.http.URL + "&region=us-east-1"
}

// Fault sets what becomes of requests from now on; nil for None.
func (s *Server) Fault(f func(*http.Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Always is a fault for every request.
func Always(f Fault) func(*http.Request) Fault { return func(*http.Request) Fault { return f } }

func (s *Server) serve(fake http.Handler, w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	f := None
	if s.fault != nil {
		f = s.fault(r)
	}
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	switch f {
	case Fail:
		refuse(w, http.StatusInternalServerError, "InternalError")
	case SlowDown:
		refuse(w, http.StatusServiceUnavailable, "SlowDown")
	case Denied:
		refuse(w, http.StatusForbidden, "AccessDenied")
	case Stall:
		_, _ = io.Copy(io.Discard, r.Body) // the server sees a client hang up only after the body
		select {
		case <-r.Context().Done():
		case <-s.closing:
		}
		panic(http.ErrAbortHandler)
	case Lost:
		fake.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case Short:
		rec := httptest.NewRecorder()
		fake.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		panic(http.ErrAbortHandler)
	default:
		fake.ServeHTTP(w, r)
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<Error><Code>"+code+"</Code><Message>"+code+" by the test</Message></Error>")
}

// Requests are those so far, as METHOD and path.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Keys lists the objects whose names begin so.
func (s *Server) Keys(prefix string) []string {
	s.t.Helper()
	p := gofakes3.NewPrefix(&prefix, nil)
	list, err := s.backend.ListBucket(Bucket, &p, gofakes3.ListBucketPage{})
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, o := range list.Contents {
		out = append(out, o.Key)
	}
	slices.Sort(out)
	return out
}

// Get returns an object.
func (s *Server) Get(key string) []byte {
	s.t.Helper()
	o, err := s.backend.GetObject(Bucket, key, nil)
	if err != nil {
		s.t.Fatalf("object %s: %v", key, err)
	}
	defer o.Contents.Close()
	b, err := io.ReadAll(o.Contents)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// Put replaces an object.
func (s *Server) Put(key string, content []byte) {
	s.t.Helper()
	if _, err := s.backend.PutObject(Bucket, key, map[string]string{"Last-Modified": time.Now().UTC().Format(http.TimeFormat)}, bytes.NewReader(content), int64(len(content)), nil); err != nil {
		s.t.Fatal(err)
	}
}

// Delete removes an object.
func (s *Server) Delete(key string) {
	s.t.Helper()
	if _, err := s.backend.DeleteObject(Bucket, key); err != nil {
		s.t.Fatal(err)
	}
}
