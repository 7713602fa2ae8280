package main

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/server"
	filesink "github.com/sluice-sql/sluice/sinks/file"
	kafkasink "github.com/sluice-sql/sluice/sinks/kafka"
)

// fileSinkOptions checks the options of a file sink against its view.
func (l *loaded) fileSinkOptions(b sinkBinding, v ddl.Values) (filesink.Options, error) {
	with := b.Decl.With
	o := filesink.Options{Dir: l.outputDir(v.String("path")), Layout: filesink.Layout{Format: v.String("format"), Mode: v.String("mode"),
		PartitionBy: v.List("partition_by"), Compression: v.String("compression")}}
	var problems []error
	if v.String("path") == "" {
		problems = append(problems, v.Errorf("path", "option \"path\" is empty").WithHint("name a directory, as in path = 'out'"))
	}
	for _, name := range fileSinkCSV {
		if v.Given(name) && o.Layout.Format != filesink.FormatCSV {
			problems = append(problems, v.Errorf(name, "option %q is for csv, and the format is %s", name, o.Layout.Format).WithHint("remove it"))
		}
	}
	if o.Layout.Format == filesink.FormatCSV {
		o.Layout.CSV = &filesink.CSV{NoHeader: !v.Bool("header"), Delimiter: v.String("delimiter"), Quote: v.String("quote"), Null: v.String("null")}
	}
	problems = append(problems, l.positioned(with, nil, o.Layout.CheckOptions(b.output)))
	for _, problem := range o.Layout.CheckColumns(b.output) {
		message, hint, _ := strings.Cut(problem.Error(), "\nHint: ")
		problems = append(problems, l.file.Errorf(b.Decl.From.Span, "%s", message).WithHint("%s", hint))
	}
	o.Layout = o.Layout.WithDefaults()
	return o, ddl.Join(problems...)
}

// outputDir is an absolute path.
func (l *loaded) outputDir(path string) string { return absoluteIn(l.BaseDir, path) }

func absoluteIn(base, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

// checkDuplicates refuses sinks that would get into each other's way: a view that goes to one system twice,
// because a sink tells its outputs apart by the view; a directory for two views; and a changelog beside a
// table, because the program gives a view's changes in one form.
func (l *loaded) checkDuplicates() error {
	var problems []error
	for i, b := range l.sinks {
		if b.Decl == nil || b.kind == nowhere {
			continue
		}
		for j, other := range l.sinks {
			switch {
			case j < i && b.kind == toFiles && other.kind == toFiles && b.files.Dir == other.files.Dir:
				problems = append(problems, b.Decl.With.Errorf("path", "sink %q writes to the same directory as sink %q", b.Name, other.Name).
					WithHint("give each a directory of its own"))
			case j < i && b.kind == toKafka && other.kind == toKafka && sameTopic(b.kafka, other.kafka):
				problems = append(problems, b.Decl.With.Errorf("topic", "sink %q writes to the same topic as sink %q", b.Name, other.Name).
					WithHint("give each a topic of its own"))
			case j < i && b.kind != toFiles && b.kind != toKafka && other.View == b.View && other.kind == b.kind:
				problems = append(problems, l.file.Errorf(b.Decl.Name.Span, "view %q goes to the same place as sink %q", b.View, other.Name).
					WithHint("make a second view: CREATE MATERIALIZED VIEW %s_2 AS FROM %s", b.View, b.View))
			case j != i && other.View == b.View && b.changelog() && !other.changelog() && b.output.Mode != planner.Append:
				problems = append(problems, l.file.Errorf(b.Decl.Name.Span, "view %q goes to a changelog and, as it is, to sink %q", b.View, other.Name).
					WithHint("make a second view for the changelog: CREATE MATERIALIZED VIEW %s_log AS FROM %s", b.View, b.View))
			}
		}
	}
	return ddl.Join(problems...)
}

func (b *sinkBinding) changelog() bool {
	return b.kind == toFiles && b.files.Layout.Mode == filesink.ModeChangelog || b.kind == toKafka && b.kafka.Layout.Mode == kafkasink.ModeDebezium
}

// fileSinks lists the sinks that write files.
func (l *loaded) fileSinks() []sinkBinding {
	var out []sinkBinding
	for _, b := range l.sinks {
		if b.kind == toFiles {
			out = append(out, b)
		}
	}
	return out
}

// durable says that the pipeline leaves something that the next start must go on with.
func (l *loaded) durable() bool {
	return l.needsPostgres() || len(l.fileSinks()) > 0 || len(l.kafkaSinks()) > 0
}

// openFileSinks constructs a sink a directory. Without PostgreSQL the first one keeps the dead letters.
func (l *loaded) openFileSinks(tempDir string) ([]microbatch.BoundSink, error) {
	var out []microbatch.BoundSink
	for i, b := range l.fileSinks() {
		o := b.files
		o.TempDir, o.DeadLetters = tempDir, i == 0 && !l.needsPostgres()
		sink, err := filesink.New(o)
		if err != nil {
			return out, err
		}
		out = append(out, microbatch.BoundSink{Sink: sink, Name: "directory " + o.Dir, Targets: []microbatch.Target{{Output: b.output, Options: b.options}}})
	}
	return out, nil
}

// checkFileSinks compares the directories with the views, and changes nothing.
func (l *loaded) checkFileSinks() error {
	for _, b := range l.fileSinks() {
		sink, err := filesink.New(b.files)
		if err != nil {
			return err
		}
		if err := sink.Check(l.Name, microbatch.Target{Output: b.output}); err != nil {
			return err
		}
	}
	return nil
}

// globs match the files of every file sink.
func (l *loaded) globs() []string {
	var out []string
	for _, b := range l.fileSinks() {
		out = append(out, b.files.Glob())
	}
	return out
}

// dropFiles removes what a pipeline's file sinks wrote. The text is only parsed: what a pipeline reads may be gone
// by the time it is dropped.
func (a *app) dropFiles(s server.Spec, tables server.Tables) (dropped []string, err error) {
	f, err := ddl.Parse(s.File, []byte(s.SQL), a.env)
	if err != nil {
		return nil, err
	}
	kept := filesink.KeepFiles
	if tables == server.DropTables {
		kept = filesink.DropFiles
	}
	var problems []error
	for _, st := range f.Statements {
		sink, ok := st.(*ddl.Sink)
		if !ok {
			continue
		}
		connector, _ := sink.With.Get("connector")
		path, given := sink.With.Get("path")
		if connector != "file" || !given {
			continue
		}
		dir := absoluteIn(s.Dir, path)
		fs, err := filesink.New(filesink.Options{Dir: dir})
		if err != nil {
			return dropped, err
		}
		had, err := fs.Drop(s.Name, kept)
		if problems = append(problems, err); had && kept == filesink.DropFiles {
			dropped = append(dropped, dir)
		}
	}
	return dropped, errors.Join(problems...)
}
