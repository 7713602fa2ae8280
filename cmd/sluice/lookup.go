package main

import (
	"context"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/sources/postgres"
	"github.com/sluice-sql/sluice/sources/postgrescdc"
)

// A purpose is what sources are opened for, and where.
type purpose struct {
	kind purposeKind
	dir  pipelineDir
	// url is the pipeline's own Postgres, empty if there is none.
	url string
	log *slog.Logger
	// captures are the slots that were opened for sources so far, by directory.
	captures map[string]*postgrescdc.Capture
	// inboxes are where rows arrive that are pushed; nil where nobody pushes.
	inboxes *inboxes
}

type purposeKind int

const (
	toAnswer    purposeKind = iota // read what is there once, and keep nothing
	toRun                          // for an engine
	toReadAgain                    // read again what an engine has read, maybe beside it
)

// bindLookup checks the options of a table in Postgres.
func (l *loaded) bindLookup(b *sourceBinding, v ddl.Values) error {
	o := postgres.Options{Name: b.Name, Columns: b.Columns, URL: v.String("url"), Table: v.String("table"), Query: v.String("query"),
		Refresh: v.Duration("refresh"), Bounded: l.UntilEnd}
	for _, in := range l.plan.Program.Sources {
		if in.Name == b.Name {
			o.Key = in.Key
		}
	}
	decl := b.Decl
	b.open = func(ctx context.Context, p purpose) (microbatch.Source, error) {
		o := o
		// The prefix keeps names such as ".." out of trouble.
		o.Dir, o.Logger = filepath.Join(p.dir.tablesDir(), "t_"+url.PathEscape(b.Name)), p.log
		if p.kind == toReadAgain {
			return postgres.NewReader(o), nil
		}
		if o.URL == "" {
			if o.URL = p.url; p.url == "" {
				return nil, noDatabase(decl)
			}
		}
		o.Bounded = o.Bounded || p.kind == toAnswer
		return postgres.New(ctx, o)
	}
	b.check = func(ctx context.Context, p purpose) (string, error) {
		o := o
		if o.URL == "" {
			if o.URL = p.url; p.url == "" {
				return "", noDatabase(decl)
			}
		}
		return postgres.Check(ctx, o)
	}
	return l.positioned(decl.With, decl.Columns, o.Validate())
}

// noDatabase says that a table without a url has no database to be in.
func noDatabase(decl *ddl.Source) error {
	return decl.With.Errorf("connector", "%q has no option url, and there is no PostgreSQL of yours to default to", decl.Name.Name).
		WithHint("add url = 'postgres://…', or name the pipeline's own with --postgres or SLUICE_POSTGRES")
}

// looksUpHere says whether a table, to look up or to capture, is in the pipeline's own Postgres.
func (l *loaded) looksUpHere() bool {
	return slices.ContainsFunc(l.sources, func(b sourceBinding) bool {
		_, own := b.Decl.With.Lookup("url")
		return (b.connector == "postgres_lookup" || b.connector == "postgres_cdc") && !own
	})
}

// usesPostgres says whether the pipeline needs its own Postgres, to write to or to look up in.
func (l *loaded) usesPostgres(url string) bool {
	return l.needsPostgres() || url != "" && l.looksUpHere()
}
