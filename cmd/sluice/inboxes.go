package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluice-sql/sluice/internal/vfs"
	httpsource "github.com/sluice-sql/sluice/sources/http"
	"github.com/sluice-sql/sluice/sources/ingestlog"
	"github.com/sluice-sql/sluice/sources/intake"
)

// inboxes are where rows arrive that are posted, of all pipelines of a process. They outlive engines: rows are taken
// while one starts again, or is stopped. A nil one has none.
type inboxes struct {
	log *slog.Logger

	mu      sync.Mutex
	open    map[string]map[string]*posted // by pipeline and source; an empty one has no such sources
	servers map[string]*httpsource.Server // by address
}

// ownership says whether who attaches has taken the pipeline over.
type ownership int

const (
	asGuest ownership = iota // it is looked at on behalf of a request
	asOwner                  // an engine is about to run
)

// posted is an open Inbox with what answers for it.
type posted struct {
	source  postedSource
	as      ownership
	inbox   *intake.Inbox
	handler *httpsource.Handler
	token   string
	// running says that an engine reads it.
	running atomic.Bool
}

func newInboxes(log *slog.Logger) *inboxes {
	return &inboxes{log: log, open: map[string]map[string]*posted{}, servers: map[string]*httpsource.Server{}}
}

// attach opens the Inboxes of a pipeline, or brings those that are open up to date.
func (n *inboxes) attach(l *loaded, dir pipelineDir, as ownership) error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open[l.Name] == nil {
		n.open[l.Name] = map[string]*posted{}
	}
	// Why: rows for a source that the file no longer has would be acknowledged, and never be read.
	var gone []error
	for name := range n.open[l.Name] {
		if !slices.ContainsFunc(l.posted, func(s postedSource) bool { return s.name == name }) {
			gone = append(gone, n.end(l.Name, name))
		}
	}
	if err := errors.Join(gone...); err != nil {
		return fmt.Errorf("close sources that are gone: %w", err)
	}
	for _, s := range l.posted {
		p, err := n.open[l.Name][s.name].renewed(s, dir, as, n.log)
		if err != nil {
			// Why all: the next request must try again, and hear of it, and not that there is no such source.
			return errors.Join(fmt.Errorf("open source %q: %w", s.name, err), n.endAll(l.Name))
		}
		n.open[l.Name][s.name] = p
		if err := n.listen(l, p); err != nil {
			return fmt.Errorf("open source %q: %w", s.name, err)
		}
		p.running.Store(as == asOwner || p.running.Load())
	}
	return nil
}

// renewed is the Inbox itself if it still does, or else another.
func (p *posted) renewed(s postedSource, dir pipelineDir, as ownership, log *slog.Logger) (*posted, error) {
	token, err := s.token()
	if err != nil {
		return nil, err
	}
	s.http.Token, s.http.Logger = token, log
	handler, err := httpsource.New(s.http)
	if err != nil {
		return nil, err
	}
	next := &posted{source: s, as: as, handler: handler, token: token}
	if p != nil {
		if p.inbox.Failed() == nil && p.source.sameInbox(s) {
			next.inbox, next.as = p.inbox, max(p.as, as)
			next.running.Store(p.running.Load())
			if next.as > p.as {
				err = p.inbox.Own()
			}
			return next, err
		}
		// Why ignored: what could not be closed well is repaired by Open, which says so.
		_ = p.inbox.Close()
	}
	o := s.inbox
	o.Dir, o.Logger, o.Owner = s.dir(dir), log, as == asOwner
	next.inbox, err = intake.Open(o)
	return next, err
}

// sameInbox says whether two versions of a source keep rows alike.
func (s postedSource) sameInbox(t postedSource) bool {
	a, b := s.inbox, t.inbox
	return a.MaxBacklogBytes == b.MaxBacklogBytes && a.MaxKeys == b.MaxKeys && a.MaxKeyAge == b.MaxKeyAge && a.Retention == b.Retention && a.RetentionBytes == b.RetentionBytes
}

// listen has the source answered at its own address, if it has one. mu is held.
func (n *inboxes) listen(l *loaded, p *posted) error {
	address := p.source.http.Listen
	if address == "" || l.UntilEnd {
		return nil
	}
	if n.servers[address] == nil {
		s, err := httpsource.Listen(address, n.log)
		if err != nil {
			return err
		}
		n.servers[address] = s
	}
	n.servers[address].Handle(l.Name, p.source.name, func(w http.ResponseWriter, r *http.Request) {
		if p.token != "" && !p.handler.Proven(r) {
			httpsource.Unauthorized().Answer(w)
			return
		}
		n.ingest(w, r, l.Name, p.source.name)
	})
	return nil
}

// ingest hands a request to its source, if that takes rows now.
func (n *inboxes) ingest(w http.ResponseWriter, r *http.Request, pipeline, source string) {
	p := n.find(pipeline, source)
	switch {
	case p == nil:
		httpsource.Unavailable("send it again with the same Idempotency-Key", "source %q of pipeline %q is not open", source, pipeline).Answer(w)
	case p.source.refuses && !p.running.Load():
		httpsource.Unavailable("resume it with `sluice resume "+pipeline+"`; with when_stopped = 'accept' the source takes rows all the same", "pipeline %q does not run", pipeline).Answer(w)
	default:
		p.handler.Ingest(w, r, p.inbox)
	}
}

func (n *inboxes) find(pipeline, source string) *posted {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open[pipeline][source]
}

// knows says whether a pipeline was attached, and names its sources.
func (n *inboxes) knows(pipeline string) (sources []string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	open, ok := n.open[pipeline]
	for name := range open {
		sources = append(sources, name)
	}
	return sources, ok
}

// wants says that a pipeline must be attached before rows are taken for it: it never was, or a log of it has failed, whose
// disk may be well again, and no engine is there to find out.
func (n *inboxes) wants(pipeline string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	open, ok := n.open[pipeline]
	for _, p := range open {
		if p.inbox.Failed() != nil && !p.running.Load() {
			return true
		}
	}
	return !ok
}

// inbox returns an open Inbox, or nil.
func (n *inboxes) inbox(pipeline, source string) *intake.Inbox {
	if n == nil {
		return nil
	}
	if p := n.find(pipeline, source); p != nil {
		return p.inbox
	}
	return nil
}

// ended says that a pipeline's engine reads no more.
func (n *inboxes) ended(pipeline string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.open[pipeline] {
		p.running.Store(false)
	}
}

// reached lists where a pipeline's sources are posted to at addresses of their own.
func (n *inboxes) reached(l *loaded) (urls []string) {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range l.posted {
		if server := n.servers[s.http.Listen]; server != nil {
			urls = append(urls, "http://"+server.Addr()+httpsource.Path+l.Name+"/"+s.name)
		}
	}
	return urls
}

// remove closes the Inboxes of a pipeline whose directory is about to go.
func (n *inboxes) remove(pipeline string) error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.endAll(pipeline)
}

// endAll closes the Inboxes of a pipeline. mu is held.
func (n *inboxes) endAll(pipeline string) error {
	var errs []error
	for name := range n.open[pipeline] {
		errs = append(errs, n.end(pipeline, name))
	}
	delete(n.open, pipeline)
	return errors.Join(errs...)
}

// end closes one Inbox. mu is held.
func (n *inboxes) end(pipeline, name string) (err error) {
	p := n.open[pipeline][name]
	if server := n.servers[p.source.http.Listen]; server != nil && !server.Remove(pipeline, name) {
		err = server.Close()
		delete(n.servers, p.source.http.Listen)
	}
	delete(n.open[pipeline], name)
	return errors.Join(err, p.inbox.Close())
}

// Close takes no more rows.
func (n *inboxes) Close() error {
	n.mu.Lock()
	var errs []error
	for _, s := range n.servers {
		errs = append(errs, s.Close())
	}
	n.servers = map[string]*httpsource.Server{}
	var pipelines []string
	for name := range n.open {
		pipelines = append(pipelines, name)
	}
	n.mu.Unlock()
	for _, name := range pipelines {
		errs = append(errs, n.remove(name))
	}
	return errors.Join(errs...)
}

// markMoved has the daemon that a pipeline's directory is copied from acknowledge no more rows, and confirm no more
// changes to a replication slot.
func markMoved(from pipelineDir) (err error) {
	for _, pattern := range []string{"h_*", "cdc*"} {
		dirs, gerr := filepath.Glob(filepath.Join(from.tablesDir(), pattern))
		err = errors.Join(err, gerr)
		for _, dir := range dirs {
			err = errors.Join(err, ingestlog.MarkMoved(vfs.OS{}, dir))
		}
	}
	return err
}
