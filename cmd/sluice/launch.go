package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
	filesink "github.com/sluice-sql/sluice/sinks/file"
	kafkasink "github.com/sluice-sql/sluice/sinks/kafka"
	"github.com/sluice-sql/sluice/sources/file"
	"github.com/sluice-sql/sluice/sources/nexmark"
	"github.com/sluice-sql/sluice/sources/postgrescdc"
)

// A sourceBinding is a declared source with its checked options.
type sourceBinding struct {
	planner.Source
	connector string
	// format is that of files.
	format string
	// endless says that it has no end, and why.
	endless string
	open    func(context.Context, purpose) (microbatch.Source, error)
	// capture is what it adds to the slot that it shares with others; nil for other connectors.
	capture *captureBinding
	// check looks at the system that the source is in; nil if its first rows tell.
	check func(context.Context, purpose) (string, error)
}

// sinkKind is a system that views can go to.
type sinkKind int

const (
	nowhere sinkKind = iota // its options are wrong
	toPostgres
	toStdout
	toFiles
	toKafka
	toBlackhole // needs no sink: what no sink takes is dropped
)

// A sinkBinding is a view with where it goes and the checked options.
type sinkBinding struct {
	planner.Sink
	kind    sinkKind
	output  planner.Output
	options map[string]string
	files   filesink.Options  // for toFiles
	kafka   kafkasink.Options // for toKafka
}

// bind goes from connector names to constructors. The error is ddl.Errors.
func (l *loaded) bind() error {
	var problems []error
	for _, src := range l.plan.Sources {
		b, err := l.bindSource(src)
		problems = append(problems, err)
		l.sources = append(l.sources, b)
	}
	for _, sink := range l.plan.Sinks {
		b, err := l.bindSink(sink)
		problems = append(problems, err)
		l.sinks = append(l.sinks, b)
	}
	problems = append(problems, l.checkDuplicates(), l.checkCaptures())
	l.Scratch.redirect(l.sinks)
	return ddl.Join(problems...)
}

// bindSource is the one switch from a source's connector to its constructor.
func (l *loaded) bindSource(src planner.Source) (b sourceBinding, err error) {
	b = sourceBinding{Source: src}
	check := checkSource
	if src.Table {
		check = checkTable
	}
	v, err := check(src.Decl)
	if err != nil {
		return b, err
	}
	b.connector = v.String("connector")
	if err := planner.CheckMetadata(l.file, src, b.connector, metadataKeys[b.connector]); err != nil {
		return b, err
	}
	switch b.connector {
	case "file":
		o := l.fileOptions(src, v)
		if err := checkFormatOptions(v, o); err != nil {
			return b, err
		}
		b.format, _ = o.Formats()
		if o.Mode != "bounded" && !o.Static {
			b.endless = "its mode is 'tail'"
		}
		b.open = func(context.Context, purpose) (microbatch.Source, error) { return file.New(o) }
		return b, l.positioned(src.Decl.With, src.Decl.Columns, o.Validate())
	case "nexmark":
		o, err := nexmarkOptionsOf(src, v)
		if err != nil {
			return b, err
		}
		l.Scratch.bound(&o)
		if o.Events == 0 {
			b.endless = "it has no option events"
		}
		b.open = func(context.Context, purpose) (microbatch.Source, error) {
			s, err := nexmark.New(o)
			if err == nil && len(src.Decl.PrimaryKey) > 0 {
				return microbatch.WithWeights(s), nil
			}
			return s, err
		}
		return b, l.positioned(src.Decl.With, src.Decl.Columns, o.Validate())
	case "postgres_lookup":
		err := l.bindLookup(&b, v)
		return b, err
	case "kafka":
		err := l.bindKafka(&b, v)
		return b, err
	case "postgres_cdc":
		err := l.bindCapture(&b, v)
		return b, err
	case "http":
		err := l.bindHTTP(&b, v)
		return b, err
	}
	panic("sluice: connector " + b.connector + " was checked and is not known")
}

// bindSink is the one switch from a sink's connector to what it writes to; open in engine.go constructs it.
func (l *loaded) bindSink(sink planner.Sink) (b sinkBinding, err error) {
	b = sinkBinding{Sink: sink, options: map[string]string{}}
	for _, o := range l.plan.Program.Outputs {
		if o.Name == sink.View {
			b.output = o
		}
	}
	if sink.Decl == nil {
		b.kind = toPostgres
		if l.unnamed(sink.View) {
			b.kind = toStdout
		}
		return b, nil
	}
	v, err := checkSink(sink.Decl)
	if err != nil {
		return b, err
	}
	switch v.String("connector") {
	case "postgres":
		b.kind = toPostgres
	case "stdout":
		b.kind = toStdout
	case "file":
		b.kind = toFiles
		if b.files, err = l.fileSinkOptions(b, v); err != nil {
			return b, err
		}
	case "kafka":
		b.kind = toKafka
		if b.kafka, err = l.kafkaSinkOptionsOf(b, v); err != nil {
			return b, err
		}
	case "blackhole":
		b.kind = toBlackhole
	}
	modes, hints := accepts(v.String("connector"), v)
	if err := l.plan.Accept(sink, v.String("connector"), modes, hints...); err != nil {
		return b, err
	}
	for _, o := range sink.Decl.With.Items {
		if o.Key.Name == "connector" {
			continue
		}
		b.options[o.Key.Name] = o.Value
		if o.Key.Name == "adopt" || o.Key.Name == "primary_key" {
			b.options[o.Key.Name] = strconv.FormatBool(v.Bool(o.Key.Name))
		}
		if o.Key.Name == "format" {
			b.options["format"] = v.String("format")
		}
	}
	return b, nil
}

// unnamed says that a view is a SELECT without a CREATE: its rows are to be seen at once.
func (l *loaded) unnamed(view string) bool {
	return view == "query" && slices.ContainsFunc(l.file.Statements, func(s ddl.Statement) bool {
		_, ok := s.(*ddl.Query)
		return ok
	})
}

// checkOptions checks the options of sources and sinks of a file that has no plan.
func (l *loaded) checkOptions() error {
	var problems []error
	for _, st := range l.file.Statements {
		var err error
		switch st := st.(type) {
		case *ddl.Source:
			var v ddl.Values
			if v, err = checkSource(st); err == nil {
				connector := v.String("connector")
				err = planner.CheckMetadata(l.file, planner.Source{Decl: st}, connector, metadataKeys[connector])
			}
		case *ddl.Table:
			_, err = checkTable(&ddl.Source{Name: st.Name, With: st.With})
		case *ddl.Sink:
			_, err = checkSink(st)
		}
		problems = append(problems, err)
	}
	return ddl.Join(problems...)
}

func checkSource(src *ddl.Source) (ddl.Values, error) {
	specs := map[string][]ddl.OptionSpec{}
	for connector, own := range map[string][]ddl.OptionSpec{"file": fileOptions, "nexmark": nexmarkOptions, "kafka": kafkaOptions, "postgres_cdc": captureOptions, "http": httpOptions} {
		specs[connector] = slices.Concat(own, ddl.SourceOptions)
	}
	return checkConnector(src.With, "source "+src.Name.Name, sourceConnectors, specs)
}

func checkTable(table *ddl.Source) (ddl.Values, error) {
	connector, _ := table.With.Get("connector")
	if slices.Contains(sourceConnectors, connector) && !slices.Contains(tableConnectors, connector) {
		return ddl.Values{}, table.With.Errorf("connector", "connector '%s' gives a stream, and CREATE TABLE declares what is read to its end before any stream", connector).
			WithHint("write CREATE SOURCE %s (…, PRIMARY KEY (…) NOT ENFORCED) WITH (connector = '%s', …): joins with it see the newest row of each key, and are corrected when that changes", table.Name.Name, connector)
	}
	return checkConnector(table.With, "table "+table.Name.Name, tableConnectors, map[string][]ddl.OptionSpec{"file": tableFileOptions, "postgres_lookup": lookupOptions})
}

func checkSink(sink *ddl.Sink) (ddl.Values, error) {
	return checkConnector(sink.With, "sink "+sink.Name.Name, sinkConnectors, map[string][]ddl.OptionSpec{"postgres": postgresOptions, "file": fileSinkOptions, "kafka": kafkaSinkOptions, "stdout": stdoutOptions, "blackhole": blackholeOptions})
}

func checkConnector(with ddl.Options, what string, known []string, specs map[string][]ddl.OptionSpec) (ddl.Values, error) {
	option, given := with.Lookup("connector")
	name := option.Value
	if !given {
		return ddl.Values{}, with.Errorf("connector", "%s names no connector", what).
			WithHint("add connector = '%s'", strings.Join(known, "' or '"))
	}
	list, ok := specs[name]
	if !ok {
		err := with.Errorf("connector", "connector %q of %s is not known", option.Display(), what)
		if best := ddl.Suggest(name, known); best != "" {
			return ddl.Values{}, err.WithHint("did you mean '%s'?", best)
		}
		return ddl.Values{}, err.WithHint("the connectors are '%s'", strings.Join(known, "', '"))
	}
	return ddl.Check(with, fmt.Sprintf("connector %q", name), list)
}

var namesColumn = regexp.MustCompile(`(?:^|\W)column "?([^" :]+)"?`)

// positioned turns a constructor's errors into errors at the option or column that each is about.
func (l *loaded) positioned(with ddl.Options, columns []ddl.Column, err error) error {
	if err == nil {
		return nil
	}
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, l.positioned(with, columns, e))
		}
		return ddl.Join(out...)
	}
	message, hint, hinted := strings.Cut(redact(with, err.Error()), "\nHint: ")
	e := with.Errorf("path", "%s", message)
	if word, _, ok := strings.Cut(message, " = "); ok {
		if _, given := with.Lookup(word); given {
			e = with.Errorf(word, "%s", message)
		}
	} else if m := namesColumn.FindStringSubmatch(message); m != nil {
		for _, c := range columns {
			if c.Name.Name == m[1] {
				e = l.file.Errorf(c.Span, "%s", message)
			}
		}
	}
	if hinted {
		e = e.WithHint("%s", hint)
	}
	return e
}

// redact takes values that came from the environment out of a message.
func redact(with ddl.Options, message string) string {
	for _, o := range with.Items {
		if o.Secret && o.Value != "" {
			message = strings.ReplaceAll(message, o.Value, ddl.Redacted)
		}
	}
	return message
}

// checkEnd refuses --until-end where the end would never come.
func (l *loaded) checkEnd() error {
	if !l.UntilEnd {
		return nil
	}
	return l.refuseEndless(map[string]string{"file": "leave out --until-end, or the option mode", "nexmark": "leave out --until-end, or add events = …",
		"kafka": "leave out --until-end, or the option mode",
		"http":  "drill with files instead: a copy of the pipeline has nobody to post to it"})
}

// refuseEndless refuses sources without an end; hints say by connector what to do.
func (l *loaded) refuseEndless(hints map[string]string) error {
	var problems []error
	for _, b := range l.sources {
		if b.endless == "" {
			continue
		}
		err := b.Decl.With.Errorf("mode", "source %q has no end: %s", b.Name, b.endless)
		if hint, ok := hints[b.connector]; ok {
			err = err.WithHint("%s", hint)
		}
		problems = append(problems, err)
	}
	return ddl.Join(problems...)
}

// targets lists the views that go to one system.
func (l *loaded) targets(kind sinkKind) []microbatch.Target {
	var out []microbatch.Target
	for _, b := range l.sinks {
		if b.kind == kind {
			out = append(out, microbatch.Target{Output: b.output, Options: b.options})
		}
	}
	return out
}

// tables names the Postgres tables, as psql wants them.
func (l *loaded) tables() []string {
	var out []string
	for _, t := range l.targets(toPostgres) {
		table, schema := t.Options["table"], t.Options["schema"]
		if table == "" {
			table = t.Output.Name
		}
		name := psqlIdent(table)
		if schema != "" && schema != "public" {
			name = psqlIdent(schema) + "." + name
		}
		out = append(out, name)
	}
	return out
}

// openSources constructs every source.
func (l *loaded) openSources(ctx context.Context, p purpose) (map[string]microbatch.Source, error) {
	out := map[string]microbatch.Source{}
	p.captures = map[string]*postgrescdc.Capture{}
	for _, b := range l.sources {
		s, err := b.open(ctx, p)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open source %q: %w", b.Name, err), closeSources(out))
		}
		out[b.Name] = s
	}
	return out, nil
}

func closeSources(sources map[string]microbatch.Source) error {
	var errs []error
	for name, s := range sources {
		if err := s.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close source %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
