package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sluice-sql/sluice/checkpointstore"
	"github.com/sluice-sql/sluice/server"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

// Peers are daemons that share no disk: each puts what it runs into a bucket, and stands by for what the others run.
// What they know of each other is kept in a directory that looks like another daemon's state directory without its
// logs, which are restored from their copies.
type peers struct {
	records *checkpointstore.Records
	own     stateDir
	log     *slog.Logger

	mu sync.Mutex
	// held are the pipelines that were launched here, with what was last said of them.
	held map[string][]byte
	told map[string]string
	// ask is when the bucket may be asked again about a takeover.
	ask map[string]time.Time
}

// A peerRecord is what a bucket has of a pipeline.
type peerRecord struct {
	Format int `json:"format"`
	// Daemon is the name of the state directory of who runs it.
	Daemon string `json:"daemon"`
	// Record is pipeline.json, and SQL the text beside it.
	Record json.RawMessage `json:"record"`
	SQL    string          `json:"sql"`
}

const peerFormat = 1

const (
	// followPeersEvery is how often the bucket is looked at for pipelines.
	followPeersEvery = 5 * time.Second
	// publishEvery is how often files here are looked at.
	publishEvery = time.Second
	// askEvery is how often the bucket is asked about a takeover.
	askEvery       = time.Second
	closingTimeout = 5 * time.Second
)

func newPeers(at checkpointstore.Location, own stateDir, log *slog.Logger) (*peers, error) {
	r, err := checkpointstore.NewRecords(at)
	if err != nil {
		return nil, err
	}
	p := &peers{records: r, own: own, log: log, held: map[string][]byte{}, told: map[string]string{}, ask: map[string]time.Time{}}
	return p, os.MkdirAll(filepath.Join(string(p.there()), "pipelines"), 0o700)
}

// there is the directory of what others run.
func (p *peers) there() stateDir { return stateDir(filepath.Join(string(p.own), "peers")) }

// watch keeps both directions up to date until ctx is done.
func (p *peers) watch(ctx context.Context) {
	publish, follow := time.NewTicker(publishEvery), time.NewTicker(followPeersEvery)
	defer publish.Stop()
	defer follow.Stop()
	p.tell("", p.follow(ctx))
	for {
		select {
		case <-ctx.Done():
			return
		case <-publish.C:
			for _, name := range p.holding() {
				p.tell(name, p.publish(ctx, name))
			}
		case <-follow.C:
			p.tell("", p.follow(ctx))
		}
	}
}

// tell warns of an error once.
func (p *peers) tell(about string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != p.told[about] {
		p.log.Warn("what daemons know of each other is not up to date", "pipeline", about, "error", err)
	}
	p.told[about] = text
}

func (p *peers) holding() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for name := range p.held {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// hold says that a pipeline runs here now.
func (p *peers) hold(ctx context.Context, name string) error {
	p.mu.Lock()
	p.held[name] = nil
	p.mu.Unlock()
	doc, err := p.compose(name)
	if err != nil {
		return err
	}
	return p.put(ctx, name, doc)
}

// publish tells the others what changed, unless one of them has the pipeline by now.
func (p *peers) publish(ctx context.Context, name string) error {
	doc, err := p.compose(name)
	if errors.Is(err, fs.ErrNotExist) { // dropped
		p.forget(name)
		return nil
	}
	p.mu.Lock()
	last, held := p.held[name]
	p.mu.Unlock()
	if err != nil || !held || bytes.Equal(last, doc) {
		return err
	}
	there, err := p.get(ctx, name)
	if err != nil {
		return err
	}
	if there != nil && there.Daemon != p.own.id() {
		p.forget(name)
		return nil
	}
	return p.put(ctx, name, doc)
}

func (p *peers) put(ctx context.Context, name string, doc []byte) error {
	if err := p.records.Put(ctx, name, doc); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, held := p.held[name]; held {
		p.held[name] = doc
	}
	return nil
}

func (p *peers) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.held, name)
}

// drop takes a pipeline's record away.
func (p *peers) drop(ctx context.Context, name string) error {
	p.forget(name)
	return p.records.Remove(ctx, name)
}

func (p *peers) compose(name string) ([]byte, error) {
	dir := p.own.pipeline(name)
	rec, err := os.ReadFile(filepath.Join(string(dir), "pipeline.json"))
	if err != nil {
		return nil, err
	}
	sql, err := os.ReadFile(filepath.Join(string(dir), "pipeline.sql"))
	if err != nil {
		return nil, err
	}
	return json.Marshal(peerRecord{peerFormat, p.own.id(), rec, string(sql)})
}

func (p *peers) get(ctx context.Context, name string) (*peerRecord, error) {
	doc, err := p.records.Get(ctx, name)
	if err != nil || doc == nil {
		return nil, err
	}
	r := new(peerRecord)
	if err := json.Unmarshal(doc, r); err != nil {
		return nil, fmt.Errorf("read the record of pipeline %s in %s: %w", name, p.records.Location(), err)
	}
	if r.Format != peerFormat {
		return nil, fmt.Errorf("the record of pipeline %s in %s has format %d, and this sluice knows %d\nHint: use the same version for all daemons", name, p.records.Location(), r.Format, peerFormat)
	}
	return r, nil
}

// follow brings the directory of what others run up to date.
func (p *peers) follow(ctx context.Context) error {
	names, err := p.records.Names(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, p.refresh(ctx, name))
	}
	known, err := os.ReadDir(filepath.Join(string(p.there()), "pipelines"))
	for _, e := range known {
		if !slices.Contains(names, e.Name()) {
			errs = append(errs, os.RemoveAll(string(p.there().pipeline(e.Name()))))
		}
	}
	return errors.Join(append(errs, err)...)
}

// refresh brings one pipeline up to date. What this daemon runs itself is nobody else's.
func (p *peers) refresh(ctx context.Context, name string) error {
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return nil
	}
	r, err := p.get(ctx, name)
	if err != nil {
		return err
	}
	dir := string(p.there().pipeline(name))
	if r == nil || r.Daemon == p.own.id() {
		return os.RemoveAll(dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// The text first: a pipeline is there when its record is.
	return errors.Join(replaceFile(filepath.Join(dir, "pipeline.sql"), []byte(r.SQL)), replaceFile(filepath.Join(dir, "pipeline.json"), r.Record))
}

// replaceFile replaces a file whole. Why not durably: it is read again from the bucket.
func replaceFile(path string, text []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := os.WriteFile(path+".tmp", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// mayTake says whether a pipeline whose lease ran out can be gone on with here: who ran it wants it to run, as of
// now, and its copy has all that PostgreSQL has. Where the copy is behind, taking over would only fence off the one
// engine that has the rest of the log.
func (n *launcher) mayTake(ctx context.Context, name string, wanted func() bool) bool {
	p := n.peers
	if p == nil {
		return wanted()
	}
	if !p.due(name, askEvery) {
		return false
	}
	err := p.refresh(ctx, name)
	if err == nil && !wanted() {
		p.due(name, followPeersEvery)
		return false
	}
	if err == nil {
		err = n.copyReaches(ctx, name)
	}
	p.tell(name, err)
	return err == nil
}

// due says whether the bucket may be asked about a pipeline, and puts the next time off.
func (p *peers) due(name string, next time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if next == askEvery && now.Before(p.ask[name]) {
		return false
	}
	p.ask[name] = now.Add(next)
	return true
}

// copyReaches fails when no copy of a pipeline's log has the ledger's batch.
func (n *launcher) copyReaches(ctx context.Context, name string) (err error) {
	s, err := n.peers.spec(name)
	if err != nil {
		return err
	}
	at, err := n.app.copiesOf(s, n.defaults)
	if err != nil {
		return err
	}
	if len(at) == 0 {
		return fmt.Errorf("pipeline %s copies its log nowhere, so it cannot be taken over without its disk\nHint: SET checkpoint in its file, or start its daemon with --checkpoint", name)
	}
	copies, err := checkpointstore.Find(ctx, checkpointstore.RestoreOptions{Locations: at, Pipeline: name, Logger: n.log})
	if err != nil {
		return err
	}
	db, err := n.database(ctx)
	if err != nil {
		return err
	}
	sink, err := postgres.New(postgres.Options{URL: db.url})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	ledger, err := sink.ReadLedger(ctx, name)
	if err != nil {
		return err
	}
	var newest int64
	if len(copies) > 0 {
		newest = copies[0].Prepared
	}
	if newest < ledger.Batch {
		return fmt.Errorf("the tables of pipeline %s are at batch %d, and the copy of its log in %s ends with batch %d: it is not taken over\nHint: start its own daemon again; SET checkpoint_sync = 'batch' never lets the tables get ahead of the copy", name, ledger.Batch, at[0], newest)
	}
	return nil
}

// spec reads what another daemon runs.
func (p *peers) spec(name string) (server.Spec, error) {
	dir := string(p.there().pipeline(name))
	var rec struct {
		Spec server.Spec `json:"spec"`
	}
	doc, err := os.ReadFile(filepath.Join(dir, "pipeline.json"))
	if err == nil {
		err = json.Unmarshal(doc, &rec)
	}
	if err != nil {
		return rec.Spec, err
	}
	sql, err := os.ReadFile(filepath.Join(dir, "pipeline.sql"))
	rec.Spec.SQL = string(sql)
	return rec.Spec, err
}
