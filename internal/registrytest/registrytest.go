// Package registrytest runs a schema registry in the test's process, which breaks when it is told to.
package registrytest

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// Fault is what becomes of a request.
type Fault int

const (
	// None: it is answered.
	None Fault = iota
	// Fail: 500.
	Fail
	// Cut: the connection breaks.
	Cut
	// Stall: no answer until the client gives up or the server is closed.
	Stall
	// NotFound: 404, as a web server says it that is no registry.
	NotFound
)

// Server is a schema registry on 127.0.0.1.
type Server struct {
	t        testing.TB
	registry *srfake.Registry
	http     *httptest.Server
	closing  chan struct{}

	mu             sync.Mutex
	fault          Fault
	requests       []string
	user, password string
}

// New starts a registry. It ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, registry: srfake.NewRegistry(), closing: make(chan struct{})}
	s.http = httptest.NewServer(s)
	t.Cleanup(func() {
		close(s.closing)
		s.http.Close()
	})
	return s
}

// URL is where the registry is.
func (s *Server) URL() string { return s.http.URL }

// Require makes the registry ask for a user and a password.
func (s *Server) Require(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user, s.password = user, password
}

// Break says what becomes of all requests from now on.
func (s *Server) Break(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Requests returns what was asked so far, as "GET /schemas/ids/1".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// Register makes a schema the newest version of a subject and returns its id. typ is AVRO, PROTOBUF or JSON.
func (s *Server) Register(subject, typ, text string, refs ...sr.SchemaReference) int {
	s.t.Helper()
	schema := sr.Schema{Schema: text, References: refs}
	if err := schema.Type.UnmarshalText([]byte(typ)); err != nil {
		s.t.Fatal(err)
	}
	id, _, err := s.registry.RegisterSchema(subject, schema)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// Latest returns the newest version of a subject, and false if it has none.
func (s *Server) Latest(subject string) (latest sr.SubjectSchema, ok bool) {
	for v := 1; ; v++ {
		next, found := s.registry.GetSchema(subject, v)
		if !found {
			return latest, ok
		}
		latest, ok = next, true
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	fault, user, password := s.fault, s.user, s.password
	s.mu.Unlock()
	switch fault {
	case Fail:
		http.Error(w, `{"error_code":50001,"message":"Error in the backend data store"}`, http.StatusInternalServerError)
		return
	case Cut:
		panic(http.ErrAbortHandler)
	case Stall:
		select {
		case <-s.closing:
		case <-r.Context().Done():
		}
		return
	case NotFound:
		http.NotFound(w, r)
		return
	}
	if u, p, _ := r.BasicAuth(); user != "" && (u != user || p != password) {
		w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
		http.Error(w, `{"error_code":401,"message":"Unauthorized"}`, http.StatusUnauthorized)
		return
	}
	s.registry.Handler().ServeHTTP(w, r)
}
