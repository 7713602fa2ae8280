package server

import "net/http"

// ingestPath begins the path of requests that bring rows.
const ingestPath = "/v1/ingest/"

// An Intake is a Launcher whose pipelines have sources that rows are posted to.
type Intake interface {
	// Ingest answers a request that brings rows, whether the pipeline runs or not.
	Ingest(w http.ResponseWriter, r *http.Request, to Recipient)
}

// A Recipient is the source that rows are for.
type Recipient struct {
	Spec   Spec
	State  State
	Source string
	// Trusted says that the request came by the daemon's socket or has its token. Any other must have the source's
	// own, which is for Ingest to look at.
	Trusted bool
}

// ingest finds the pipeline. It cannot be dropped while the request is answered.
func (s *Server) ingest(w http.ResponseWriter, r *http.Request) {
	p, err := s.fleet.get(r.PathValue("name"))
	in, ok := s.fleet.launcher.(Intake)
	if err == nil && !ok {
		err = newError(CodeNotFound, "", "this daemon takes no rows")
	}
	if err != nil {
		reply(w, err)
		return
	}
	p.posting.RLock()
	defer p.posting.RUnlock()
	in.Ingest(w, r, p.recipient(r))
}

func (p *pipeline) recipient(r *http.Request) Recipient {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Recipient{Spec: p.rec.Spec, State: p.state, Source: r.PathValue("source"), Trusted: hasToken(r)}
}
