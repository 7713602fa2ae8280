package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/server"
	"github.com/sluice-sql/sluice/sources/postgrescdc"
)

var captureOptions = []ddl.OptionSpec{
	optConnector,
	{Name: "url", Kind: ddl.String, Doc: "connection string; defaults to the pipeline's own PostgreSQL"},
	{Name: "table", Kind: ddl.String, Doc: "the table's name, with its schema if need be; defaults to the declared name"},
	{Name: "slot", Kind: ddl.String, Doc: "the replication slot; sources of one slot are captured together; defaults to one for the pipeline"},
	{Name: "publication", Kind: ddl.String, Doc: "an existing publication with the tables; defaults to one that is made"},
	{Name: "failover", Kind: ddl.Bool, Default: "false", Doc: "synchronize the slot to standbys (PostgreSQL 17)"},
	{Name: "retention", Kind: ddl.Duration, Doc: "how long changes are kept once they are committed; defaults to for good, as verify and --rebuild need"},
}

var captureMetadata = []planner.MetadataKey{
	{Key: postgrescdc.MetaLSN, Doc: "where the commit is in the server's log", Types: []vector.Type{vector.Of(vector.Varchar), vector.Of(vector.Int64), vector.Of(vector.UInt64)}},
	{Key: postgrescdc.MetaCommit, Doc: "when the change was committed; NULL in the initial snapshot", Types: []vector.Type{vector.Of(vector.TimestampTZ), vector.Of(vector.Timestamp)}},
	{Key: postgrescdc.MetaTable, Doc: "the table's name with its schema", Types: []vector.Type{vector.Of(vector.Varchar)}, OfRow: true},
}

// A captureBinding is one source of those that share a slot.
type captureBinding struct {
	table postgrescdc.Table
	// slot is as in the file, empty for the pipeline's own.
	slot    string
	options postgrescdc.Options
}

// bindCapture checks the options of a captured table.
func (l *loaded) bindCapture(b *sourceBinding, v ddl.Values) error {
	c := &captureBinding{slot: v.String("slot"), table: postgrescdc.Table{Name: b.Name, Columns: b.ReadColumns(), Metadata: b.ReadMetadata(), Table: v.String("table")},
		options: postgrescdc.Options{Pipeline: l.Name, URL: v.String("url"), Slot: v.String("slot"), Publication: v.String("publication"), Failover: v.Bool("failover"),
			Retention: v.Duration("retention"), Bounded: l.UntilEnd}}
	for _, in := range l.plan.Program.Sources {
		if in.Name == b.Name {
			c.table.Key = keyOf(in, c.table.Columns)
		}
	}
	b.capture = c
	if !l.UntilEnd {
		b.endless = "its table may always change"
	}
	name, decl := b.Name, b.Decl
	b.open = func(ctx context.Context, p purpose) (microbatch.Source, error) {
		o := l.captureOf(c, p)
		if p.kind == toReadAgain {
			return postgrescdc.NewReader(o, name), nil
		}
		if o.URL == "" {
			return nil, noDatabase(decl)
		}
		g := p.captures[o.Dir]
		if g == nil {
			var err error
			if g, err = postgrescdc.Open(ctx, o); err != nil {
				return nil, err
			}
			p.captures[o.Dir] = g
		}
		return g.Source(name), nil
	}
	b.check = func(ctx context.Context, p purpose) (string, error) {
		o := l.captureOf(c, p)
		if o.URL == "" {
			return "", noDatabase(decl)
		}
		o.Tables = []postgrescdc.Table{c.table}
		return postgrescdc.Check(ctx, o)
	}
	return l.positioned(decl.With, decl.Columns, c.options.Validate())
}

// captureOf gathers all sources of one slot.
func (l *loaded) captureOf(c *captureBinding, p purpose) postgrescdc.Options {
	o := c.options
	o.Dir, o.Logger, o.Once = p.dir.captureDir(c.slot), p.log, p.kind == toAnswer
	if o.URL == "" {
		o.URL = p.url
	}
	if l.Scratch != nil {
		o.Slot = "" // the pipeline's own must not be touched
	}
	for _, b := range l.sources {
		if b.capture != nil && b.capture.slot == c.slot {
			o.Tables = append(o.Tables, b.capture.table)
		}
	}
	return o
}

// captureDir is where the changes that come over a slot are kept.
func (d pipelineDir) captureDir(slot string) string {
	return filepath.Join(d.tablesDir(), strings.TrimSuffix("cdc_"+slot, "_"))
}

// checkCaptures sees to it that sources of one slot agree on what it is, and that none reads what the pipeline
// writes.
func (l *loaded) checkCaptures() error {
	var problems []error
	first := map[string]*sourceBinding{}
	for i := range l.sources {
		b := &l.sources[i]
		if b.capture == nil {
			continue
		}
		problems = append(problems, l.refuseLoop(b))
		f := first[b.capture.slot]
		if f == nil {
			first[b.capture.slot] = b
			continue
		}
		mine, theirs := b.capture.options, f.capture.options
		for _, o := range []struct {
			name  string
			equal bool
		}{{"url", mine.URL == theirs.URL}, {"publication", mine.Publication == theirs.Publication}, {"failover", mine.Failover == theirs.Failover}, {"retention", mine.Retention == theirs.Retention}} {
			if !o.equal {
				problems = append(problems, b.Decl.With.Errorf(o.name, "sources %q and %q are captured over one slot, and their option %q differs", f.Name, b.Name, o.name).
					WithHint("write the same in both, or give one of them a slot of its own: slot = '…'"))
			}
		}
	}
	return ddl.Join(problems...)
}

// refuseLoop refuses a source over a table that the pipeline itself writes.
func (l *loaded) refuseLoop(b *sourceBinding) error {
	if b.capture.options.URL != "" {
		return nil // whether it is the same database, nobody can say from here
	}
	table := b.capture.table.Table
	if table == "" {
		table = b.Name
	}
	table = strings.ReplaceAll(strings.TrimPrefix(table, "public."), `"`, "")
	for _, t := range l.tables() {
		if strings.ReplaceAll(t, `"`, "") == table {
			return b.Decl.With.Errorf("table", "source %q reads table %s, which this pipeline writes", b.Name, t).
				WithHint("give the view or its sink another table, or name the source's: table = 'schema.name'")
		}
	}
	return nil
}

// dropCaptures drops the slots and publications that a pipeline's sources have made. The text is only parsed.
func (a *app) dropCaptures(ctx context.Context, s server.Spec, dir pipelineDir, url string) (dropped []string, err error) {
	f, err := ddl.Parse(s.File, []byte(s.SQL), a.env)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, st := range f.Statements {
		src, ok := st.(*ddl.Source)
		if !ok {
			continue
		}
		if connector, _ := src.With.Get("connector"); connector != "postgres_cdc" {
			continue
		}
		slot, _ := src.With.Get("slot")
		at, own := src.With.Get("url")
		if !own {
			at = url
		}
		if seen[slot] {
			continue
		}
		seen[slot] = true
		name, err := postgrescdc.Drop(ctx, postgrescdc.Options{Pipeline: s.Name, URL: at, Dir: dir.captureDir(slot)})
		if err != nil {
			return dropped, errors.New(redact(src.With, fmt.Sprintf("drop source %q: %v", src.Name.Name, err)))
		}
		if name != "" {
			dropped = append(dropped, "replication slot "+name)
		}
	}
	return dropped, nil
}
