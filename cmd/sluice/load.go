package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sluice-sql/sluice/checkpointstore"
	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// A spec is a pipeline before anything was made of it.
type spec struct {
	Name string
	Text []byte
	// File is what messages call the text; relative paths in it start at BaseDir.
	File, BaseDir string
	// UntilEnd makes file sources bounded unless they say otherwise.
	UntilEnd bool
	// Settings are pipeline options that go before the file's own.
	Settings map[string]string
	// Defaults are options that go behind the file's own.
	Defaults map[string]string
	// Scratch, if set, makes a copy of the pipeline that writes elsewhere and whose input has an end.
	Scratch *scratch
}

// readSpec reads a pipeline file; "-" is standard input.
func (a *app) readSpec(path, name string) (spec, error) {
	s := spec{Name: name, File: path}
	var err error
	if path == "-" {
		s.File = "<stdin>"
		if s.Name == "" {
			s.Name = "stdin"
		}
		if s.BaseDir, err = os.Getwd(); err == nil {
			s.Text, err = readAll(a.streams.In)
		}
	} else {
		if s.Name == "" {
			s.Name = nameOf(path)
		}
		if s.Text, err = os.ReadFile(path); err == nil {
			s.BaseDir, err = filepath.Abs(filepath.Dir(path))
		}
	}
	if err != nil {
		var at *os.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return s, fmt.Errorf("read pipeline file %s: %w", path, err)
	}
	return s, nil
}

// loaded is a pipeline that is planned and whose options are checked; nothing was opened for it.
type loaded struct {
	spec
	app      *app
	file     *ddl.File
	plan     *planner.Pipeline
	settings ddl.Values
	sources  []sourceBinding
	sinks    []sinkBinding
	// posted are the sources that rows are posted to.
	posted []postedSource
	// restored says that a savepoint was put back.
	restored bool
	// copies are where the log is copied to, the checkpoint before the replica.
	copies []checkpointstore.Location
	// copying are the settings about that.
	copying ddl.Values
}

// load parses, plans and checks. All mistakes in the file are reported at once, as ddl.Errors.
func (a *app) load(ctx context.Context, s spec) (*loaded, error) {
	l := &loaded{spec: s, app: a}
	var err error
	if l.file, err = ddl.Parse(s.File, s.Text, a.env); err != nil {
		return nil, err
	}
	settings := l.file.Settings()
	settings = effective(settings, s.Settings, s.Defaults)
	var problems []error
	l.settings, err = ddl.Check(settings, "the pipeline", ddl.PipelineOptions)
	problems = append(problems, err)
	if _, given := s.Settings[ddl.StateTTL]; given {
		return nil, fmt.Errorf("option %s is a part of what the pipeline computes\nhint: write SET %s = '…' in the file", ddl.StateTTL, ddl.StateTTL)
	}
	if l.plan, err = plan(ctx, l.file); err != nil {
		if !rejected(err) {
			return nil, err
		}
		return nil, ddl.Join(append(problems, err, l.checkOptions())...)
	}
	problems = append(problems, l.bind())
	if len(problems) == 0 || problems[0] == nil {
		problems = append(problems, l.bindCopies(l.settings))
	}
	if err := ddl.Join(problems...); err != nil {
		return nil, err
	}
	return l, nil
}

// plan runs the planner over a scratch DuckDB that can reach nothing.
func plan(ctx context.Context, f *ddl.File) (_ *planner.Pipeline, err error) {
	db, err := duck.Open(duck.Options{Locked: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Connect()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return planner.Plan(ctx, f, conn)
}

// rejected says that an error is of the file's making.
func rejected(err error) bool { return exitCode(err) == ExitRejected }

// needsPostgres says whether any view goes to Postgres.
func (l *loaded) needsPostgres() bool { return len(l.targets(toPostgres)) > 0 }
