package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"time"
)

const (
	// maxSQLBytes bounds a pipeline file, maxBody a request: JSON may need six bytes for one.
	maxSQLBytes = 1 << 20
	maxBody     = 6*maxSQLBytes + 64<<10

	checkTimeout = time.Minute
	dropTimeout  = 5 * time.Minute
	// stopTimeout is how long a stop request waits for the batch to finish; it then answers "stopping".
	stopTimeout = time.Minute
)

// route is a request that the API takes.
type route struct {
	pattern string // as net/http's ServeMux reads it
	handle  http.HandlerFunc
}

func (s *Server) routes() []route {
	return []route{
		{"GET /healthz", s.health},
		{"GET /v1/version", s.version},
		{"POST /v1/pipelines", s.submit},
		{"GET /v1/pipelines", s.list},
		{"GET /v1/pipelines/{name}", s.status},
		{"GET /v1/pipelines/{name}/sql", s.sql},
		{"POST /v1/pipelines/{name}/stop", s.stop},
		{"POST /v1/pipelines/{name}/resume", s.resume},
		{"PUT /v1/pipelines/{name}", s.replace},
		{"DELETE /v1/pipelines/{name}/replacement", s.cancelReplacement},
		{"DELETE /v1/pipelines/{name}", s.drop},
		{"POST /v1/ingest/{name}/{source}", s.ingest},
	}
}

// handler is the API, without any question of who asks.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.Handle(r.pattern, r.handle)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, newError(CodeNotFound, "the requests are listed in docs/api.md", "there is no %s %s", r.Method, r.URL.Path))
	})
	return mux
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	send(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	send(w, http.StatusOK, Version{Version: s.cfg.Version, API: apiVersion, PID: os.Getpid(), StateDir: s.cfg.StateDir, Listen: s.Addr(), StartedAt: s.started})
}

func (s *Server) submit(w http.ResponseWriter, r *http.Request) {
	var spec Spec
	if err := receive(w, r, &spec); err != nil {
		reply(w, err)
		return
	}
	if len(spec.SQL) > maxSQLBytes {
		reply(w, tooLong(spec))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	status, err := s.fleet.submit(ctx, spec)
	if err != nil {
		reply(w, err)
		return
	}
	w.Header().Set("Location", "/v1/pipelines/"+spec.Name)
	send(w, http.StatusCreated, status)
}

func (s *Server) replace(w http.ResponseWriter, r *http.Request) {
	var spec Spec
	if err := receive(w, r, &spec); err != nil {
		reply(w, err)
		return
	}
	name := r.PathValue("name")
	rebuild, err := strconv.ParseBool(cmp.Or(r.URL.Query().Get("rebuild"), "false"))
	switch {
	case err != nil:
		reply(w, newError(CodeBadRequest, "say rebuild=true or rebuild=false", "rebuild is %q", r.URL.Query().Get("rebuild")))
		return
	case spec.Name != name:
		reply(w, newError(CodeBadRequest, "name the pipeline alike in both", "the path names pipeline %q, and the body %q", name, spec.Name))
		return
	case len(spec.SQL) > maxSQLBytes:
		reply(w, tooLong(spec))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	status, err := s.fleet.replace(ctx, spec, rebuild)
	if err != nil {
		reply(w, err)
		return
	}
	send(w, http.StatusAccepted, status)
}

func tooLong(spec Spec) error {
	return newError(CodeBadRequest, "split it into several pipelines", "the SQL has %d bytes, and %d are allowed", len(spec.SQL), maxSQLBytes)
}

func (s *Server) cancelReplacement(w http.ResponseWriter, r *http.Request) {
	p, err := s.fleet.get(r.PathValue("name"))
	if err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), stopTimeout)
		defer cancel()
		err = p.giveUp(ctx, errGivenUp)
	}
	if err != nil {
		reply(w, err)
		return
	}
	send(w, http.StatusOK, p.status())
}

func (s *Server) list(w http.ResponseWriter, _ *http.Request) {
	all := list{Pipelines: []Status{}}
	for _, p := range s.fleet.all() {
		all.Pipelines = append(all.Pipelines, p.status())
	}
	send(w, http.StatusOK, all)
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	p, err := s.fleet.get(r.PathValue("name"))
	if err != nil {
		reply(w, err)
		return
	}
	send(w, http.StatusOK, p.status())
}

func (s *Server) sql(w http.ResponseWriter, r *http.Request) {
	p, err := s.fleet.get(r.PathValue("name"))
	if err != nil {
		reply(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/sql; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(w, p.text())
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	var req StopRequest
	if err := receive(w, r, &req); err != nil {
		reply(w, err)
		return
	}
	p, err := s.fleet.get(r.PathValue("name"))
	if err == nil {
		how := finishBatch
		if req.Abort {
			how = giveUp
		}
		ctx, cancel := context.WithTimeout(r.Context(), stopTimeout)
		defer cancel()
		err = p.stop(ctx, how)
	}
	if err != nil {
		reply(w, err)
		return
	}
	send(w, http.StatusOK, p.status())
}

func (s *Server) resume(w http.ResponseWriter, r *http.Request) {
	p, err := s.fleet.get(r.PathValue("name"))
	if err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), stopTimeout)
		defer cancel()
		err = p.resume(ctx)
	}
	if err != nil {
		reply(w, err)
		return
	}
	send(w, http.StatusOK, p.status())
}

func (s *Server) drop(w http.ResponseWriter, r *http.Request) {
	how := DropOptions{Tables: Tables(r.URL.Query().Get("tables"))}
	switch how.Tables {
	case "":
		how.Tables = DropTables
	case DropTables, KeepTables:
	default:
		reply(w, newError(CodeBadRequest, "say tables=drop or tables=keep", "tables is %q", how.Tables))
		return
	}
	switch remote := r.URL.Query().Get("remote"); remote {
	case "", "drop":
	case "keep":
		how.KeepRemote = true
	default:
		reply(w, newError(CodeBadRequest, "say remote=drop or remote=keep", "remote is %q", remote))
		return
	}
	// Why not the request's context alone: a drop that has begun is completed even when nobody listens.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), dropTimeout)
	defer cancel()
	dropped, err := s.fleet.drop(ctx, r.PathValue("name"), how)
	if err != nil {
		reply(w, err)
		return
	}
	send(w, http.StatusOK, dropped)
}

// receive decodes a JSON body; an empty one leaves into as it is.
func receive(w http.ResponseWriter, r *http.Request, into any) error {
	if r.ContentLength == 0 {
		return nil
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		return newError(CodeBadRequest, "send the header Content-Type: application/json", "the body is %q, not JSON", kind)
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return newError(CodeBadRequest, "docs/api.md shows what the request takes", "read the request: %v", err)
	}
	if d.More() {
		return newError(CodeBadRequest, "send one JSON object", "the request goes on after its JSON")
	}
	return nil
}

func reply(w http.ResponseWriter, err error) {
	e := describe(err)
	send(w, httpStatus(e.Code), e)
}

func send(w http.ResponseWriter, status int, body any) {
	b, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error": "the answer could not be encoded", "code": "internal"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client is gone: nobody to tell
}
