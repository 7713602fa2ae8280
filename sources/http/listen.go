package http

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sluice-sql/sluice/internal/loopback"
)

// Path is where the rows of a source are posted to, on every listener.
const Path = "/v1/ingest/"

// A Server answers on an address of its own, for the sources that say so.
type Server struct {
	listener net.Listener
	server   *http.Server

	mu      sync.Mutex
	sources map[string]http.HandlerFunc // by PIPELINE/SOURCE
}

const (
	headerTimeout = 5 * time.Second
	// writeTimeout bounds a request as a whole: a body, its sync, and a client that does not read.
	writeTimeout = 2 * time.Minute
	idleTimeout  = 2 * time.Minute
	maxHeader    = 16 << 10
	hangUpAfter  = 2 * time.Second
)

// Listen begins to answer on a loopback address.
func Listen(address string, log *slog.Logger) (*Server, error) {
	l, err := loopback.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("%w\nHint: choose another port in the source's option listen", err)
	}
	s := &Server{listener: l, sources: map[string]http.HandlerFunc{}}
	s.server = &http.Server{Handler: http.HandlerFunc(s.route), ReadHeaderTimeout: headerTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	go func() {
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("no more rows are taken", "address", l.Addr(), "error", err)
		}
	}()
	return s, nil
}

// Addr is the address, with the port that was free if the asked one was 0.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Handle answers the requests for a source from now on.
func (s *Server) Handle(pipeline, source string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources[pipeline+"/"+source] = h
}

// Remove no longer answers the requests for a source; it reports whether there are others.
func (s *Server) Remove(pipeline, source string) (others bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sources, pipeline+"/"+source)
	return len(s.sources) > 0
}

// Close lets the requests at hand be answered, for a moment.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), hangUpAfter)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		return s.server.Close()
	}
	return nil
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	_, port, _ := net.SplitHostPort(s.Addr())
	if why, hint := loopback.Refuse(r, port); why != "" {
		problem(http.StatusForbidden, "forbidden", hint, "%s", why).Answer(w)
		return
	}
	if r.URL.Path == "/healthz" {
		send(w, http.StatusOK, map[string]string{"status": "ok"})
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+Path+"{pipeline}/{source}", s.ingest)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		NotFound("POST "+Path+"PIPELINE/SOURCE; docs/http.md has an example", "there is no %s %s", r.Method, r.URL.Path).Answer(w)
	})
	mux.ServeHTTP(w, r)
}

func (s *Server) ingest(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	h := s.sources[r.PathValue("pipeline")+"/"+r.PathValue("source")]
	s.mu.Unlock()
	if h == nil {
		NotFound("the path is "+Path+"PIPELINE/SOURCE, as in the SQL file", "no source %q of pipeline %q takes rows here", r.PathValue("source"), r.PathValue("pipeline")).Answer(w)
		return
	}
	h(w, r)
}
