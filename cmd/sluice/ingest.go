package main

import (
	"net/http"
	"strings"

	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/server"
	httpsource "github.com/sluice-sql/sluice/sources/http"
)

var _ server.Intake = (*launcher)(nil)

// Ingest implements server.Intake. A pipeline that did not run yet since the daemon began is loaded for its first
// request, and not run.
func (n *launcher) Ingest(w http.ResponseWriter, r *http.Request, to server.Recipient) {
	name := to.Spec.Name
	switch to.State {
	case server.Dropping:
		httpsource.NotFound("", "pipeline %q is being dropped", name).Answer(w)
		return
	case server.Standby:
		httpsource.Unavailable("send it to the daemon that runs the pipeline, with the same Idempotency-Key", "another daemon runs pipeline %q; this one stands by", name).Answer(w)
		return
	}
	if n.inboxes.wants(name) {
		l, err := n.load(r.Context(), to.Spec)
		if err == nil {
			err = n.inboxes.attach(l, n.state.pipeline(name), asGuest)
		}
		if err != nil {
			n.log.Error("posted rows were refused", "pipeline", name, "source", to.Source, "error", err)
			httpsource.Unavailable("see `sluice status "+name+"` and the daemon's log", "pipeline %q cannot take rows now", name).Answer(w)
			return
		}
	}
	p := n.inboxes.find(name, to.Source)
	if p == nil {
		sources, _ := n.inboxes.knows(name)
		hint := "pipeline " + name + " has no source that takes rows: they say connector = 'http'"
		if best := ddl.Suggest(to.Source, sources); best != "" {
			hint = "did you mean " + best + "?"
		} else if len(sources) > 0 {
			hint = "those that do are " + strings.Join(sources, ", ")
		}
		httpsource.NotFound(hint, "no source %q of pipeline %q takes rows", to.Source, name).Answer(w)
		return
	}
	if !to.Trusted && !p.handler.Proven(r) {
		httpsource.Unauthorized().Answer(w)
		return
	}
	n.inboxes.ingest(w, r, name, to.Source)
}
