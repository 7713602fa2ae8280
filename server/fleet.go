package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxPipelines bounds a daemon: every pipeline has a DuckDB and a state of its own in memory.
const maxPipelines = 128

// fleet is all pipelines of a daemon.
type fleet struct {
	launcher Launcher
	store    store
	logger   *slog.Logger

	mu sync.Mutex
	// pipelines by name; nil while a submission under that name is being checked.
	pipelines map[string]*pipeline
	closing   bool

	standby *standby // nil unless this daemon stands by for another
	// lost delivers the error when every pipeline that ran was taken over.
	lost chan error
}

// openFleet reads the pipelines of a state directory; none runs yet.
func openFleet(stateDir string, l Launcher, logger *slog.Logger, by *standby) (*fleet, error) {
	f := &fleet{launcher: l, store: store{filepath.Join(stateDir, "pipelines")}, logger: logger, pipelines: map[string]*pipeline{}, lost: make(chan error, 1), standby: by}
	if err := os.MkdirAll(f.store.dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the pipelines' directory: %w", err)
	}
	names, err := f.store.names()
	if err != nil {
		return nil, fmt.Errorf("look for pipelines: %w", err)
	}
	for _, name := range names {
		rec, err := f.store.load(name)
		p := f.newPipeline(rec)
		if err != nil {
			// A damaged file leads here. The others run all the same.
			logger.Error("a pipeline could not be read", "pipeline", name, "error", err)
			p.rec = record{Spec: Spec{Name: name}, Desired: WantStopped}
			p.problem, p.state = failure(err), Failed
		}
		f.pipelines[name] = p
	}
	return f, nil
}

func (f *fleet) newPipeline(rec record) *pipeline {
	p := newPipeline(rec, f.launcher, f.store, f.logger)
	p.standby, p.fenced = f.standby, f.fencedAll
	return p
}

// resumeAll starts what should run and completes drops that a daemon's end interrupted.
func (f *fleet) resumeAll() {
	for _, p := range f.all() {
		p.mu.Lock()
		var err error
		switch p.rec.Desired {
		case WantRunning:
			err = p.begin(Starting, p.keep)
		case WantDropped:
			err = p.begin(Dropping, func(ctx, _ context.Context) { f.completeDrop(ctx, p) })
		}
		p.mu.Unlock()
		if err != nil {
			p.logger.Error("the pipeline was not resumed", "error", err)
		}
	}
}

func (f *fleet) completeDrop(ctx context.Context, p *pipeline) {
	_, err := p.clear(ctx, DropOptions{p.rec.Tables, p.rec.KeepRemote})
	p.mu.Lock()
	p.run = nil
	p.mu.Unlock()
	if err != nil {
		p.logger.Error("a drop could not be completed", "error", err)
		return
	}
	f.forget(p.name)
}

// submit checks a pipeline, makes it durable and starts it.
func (f *fleet) submit(ctx context.Context, s Spec) (Status, error) {
	if err := validate(s); err != nil {
		return Status{}, err
	}
	if err := f.reserve(s.Name); err != nil {
		return Status{}, err
	}
	p, err := f.admit(ctx, s)
	if err != nil {
		f.forget(s.Name)
		return Status{}, err
	}
	return p.status(), nil
}

func validate(s Spec) error {
	switch {
	case strings.TrimSpace(s.SQL) == "":
		return newError(CodeBadRequest, "send the text of the pipeline file as sql", "the request has no SQL")
	case s.Dir != "" && !filepath.IsAbs(s.Dir):
		return newError(CodeBadRequest, "send the absolute directory that relative paths start from", "dir %q is not absolute", s.Dir)
	}
	return checkName(s.Name)
}

// reserve claims a name while its SQL is checked.
func (f *fleet) reserve(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return newError(CodeShutdown, "try again when it is back", "the daemon is shutting down")
	}
	for taken := range f.pipelines {
		// Why fold: the names are directories, and some file systems do not tell Orders from orders.
		if strings.EqualFold(taken, name) {
			return newError(CodeExists, fmt.Sprintf("see it with `sluice status %[1]s`, go on with `sluice resume %[1]s`, remove it with `sluice drop %[1]s`, or submit with another --name", taken),
				"pipeline %q exists already", taken)
		}
	}
	if len(f.pipelines) >= maxPipelines {
		return newError(CodeTooMany, "drop some, or start another daemon with its own --state-dir", "this daemon has %d pipelines, the most it takes", maxPipelines)
	}
	f.pipelines[name] = nil
	return nil
}

func (f *fleet) admit(ctx context.Context, s Spec) (*pipeline, error) {
	var d Description
	err := guarded(func() (err error) {
		d, err = f.launcher.Check(ctx, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	rec := record{Format: recordFormat, Spec: s, Desired: WantRunning, SubmittedAt: time.Now().UTC(), Description: d}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return nil, newError(CodeShutdown, "try again when it is back", "the daemon is shutting down")
	}
	if err := f.store.create(rec); err != nil {
		return nil, errors.Join(err, f.store.undo(s.Name))
	}
	p := f.newPipeline(rec)
	f.pipelines[s.Name] = p
	p.logger.Info("submitted", "file", s.File)
	return p, p.start()
}

func (f *fleet) forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pipelines, name)
}

func (f *fleet) get(name string) (*pipeline, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.pipelines[name]; p != nil {
		return p, nil
	}
	return nil, newError(CodeNotFound, "`sluice ls` shows those there are", "there is no pipeline %q", name)
}

// all returns the pipelines by name.
func (f *fleet) all() []*pipeline {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*pipeline
	for _, p := range f.pipelines {
		if p != nil {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *pipeline) int { return strings.Compare(a.name, b.name) })
	return out
}

func (f *fleet) drop(ctx context.Context, name string, how DropOptions) (Dropped, error) {
	p, err := f.get(name)
	if err != nil {
		return Dropped{}, err
	}
	dropped, err := p.drop(ctx, how)
	if err != nil {
		return Dropped{}, err
	}
	f.forget(name)
	p.logger.Info("dropped", "tables", how.Tables)
	return Dropped{Name: name, Tables: append([]string{}, dropped...)}, nil
}

// abortTimeout bounds how long pipelines that gave their batches up may take to end.
const abortTimeout = 30 * time.Second

// shutdown ends every pipeline: each finishes its batch, or gives it up once abort is done. What should run
// still should: the next daemon resumes it.
func (f *fleet) shutdown(abort context.Context) error {
	f.mu.Lock()
	f.closing = true
	f.mu.Unlock()
	runs, changes := map[*pipeline]*run{}, map[*pipeline]*replacing{}
	for _, p := range f.all() {
		r, c := p.close()
		if r != nil {
			runs[p] = r
		}
		if c != nil {
			changes[p] = c
		}
	}
	for _, r := range runs {
		select {
		case <-r.done:
		case <-abort.Done():
		}
	}
	for _, r := range runs {
		r.abort(errHalted)
	}
	deadline := time.NewTimer(abortTimeout)
	defer deadline.Stop()
	for p, r := range runs {
		if err := p.endsBy(r.done, deadline.C); err != nil {
			return err
		}
	}
	for p, c := range changes {
		if err := p.endsBy(c.done, deadline.C); err != nil {
			return err
		}
	}
	return nil
}

func (p *pipeline) endsBy(done <-chan struct{}, deadline <-chan time.Time) error {
	select {
	case <-done:
		return nil
	case <-deadline:
		return fmt.Errorf("pipeline %s did not end within %s\nHint: its log is safe; it resumes when the daemon is started again", p.name, abortTimeout)
	}
}

// replace has a new version take a pipeline's place.
func (f *fleet) replace(ctx context.Context, s Spec, rebuild bool) (Status, error) {
	if err := validate(s); err != nil {
		return Status{}, err
	}
	if s.Options.FromSavepoint != "" {
		return Status{}, newError(CodeBadRequest, "leave it out, or submit under another --name", "a pipeline that is there does not start from a savepoint")
	}
	p, err := f.get(s.Name)
	if err != nil {
		return Status{}, err
	}
	if err := p.replace(ctx, s, rebuild); err != nil {
		return Status{}, err
	}
	return p.status(), nil
}
