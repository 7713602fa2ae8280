package main

import (
	"encoding/json"
	"slices"
	"sort"
	"strings"

	"github.com/sluice-sql/sluice/planner/change"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// neutralOptions do not say which rows a source has, nor what they are: they may change at any time. By
// connector; an option that is in neither list here says which rows there are.
var neutralOptions = map[string][]string{
	"file":            {"mode", "on_error", "identity", "format"}, // the format is taken with its default
	"nexmark":         {"events", "rate"},
	"postgres_lookup": {"url", "refresh"},
	// Brokers may be renamed; another cluster's topic has another id, which the source refuses.
	"kafka": append(names(kafkaClientOptions), "startup", "mode", "on_error", "group_id", "max_buffer_bytes", "discovery_interval", "format",
		"schema_registry_user", "schema_registry_password", "schema_registry_password_file"),
	// What is captured is in the log, with the slot and the publication.
	"postgres_cdc": {"url", "slot", "publication", "failover", "retention"},
	"http": {"listen", "token", "token_file", "validate", "when_stopped", "max_body_bytes", "max_backlog_bytes", "idempotency_keys", "idempotency_window", "retention", "retention_bytes",
		"format"},
}

// readingOptions say what a row is, and leave its place alone.
var readingOptions = map[string][]string{
	"file":  {"encoding", "timestamp_unit", "time_unit", "decimal_handling_mode", "max_row_bytes", "header", "delimiter", "quote", "escape", "null"},
	"http":  names(httpFormatOptions),
	"kafka": names(messageFormatOptions),
}

func names(specs []ddl.OptionSpec) (out []string) {
	for _, s := range specs {
		out = append(out, s.Name)
	}
	return out
}

// version fingerprints the pipeline, operator by operator.
func (l *loaded) version() *change.Version {
	var sources []change.Source
	for _, b := range l.sources {
		sources = append(sources, b.identity())
	}
	v := change.Of(l.plan, sources)
	v.BaseDir = l.BaseDir
	for i := range v.Outputs {
		for _, b := range l.sinks {
			if b.View == v.Outputs[i].Name {
				v.Outputs[i].Sinks = append(v.Outputs[i].Sinks, b.identity())
			}
		}
	}
	return v
}

// identity hashes the options of a source by what they say. Event time has options of its own, which the planner
// has read.
func (b *sourceBinding) identity() change.Source {
	s := change.Source{Name: b.Name, Place: map[string]string{"connector": change.Hash(b.connector)}, Reading: map[string]string{}}
	for _, o := range b.Decl.With.Items {
		name := o.Key.Name
		eventTime := slices.ContainsFunc(ddl.SourceOptions, func(spec ddl.OptionSpec) bool { return spec.Name == name })
		switch {
		case name == "connector", eventTime, slices.Contains(neutralOptions[b.connector], name), o.Value == defaultOf(b.connector, name):
		case slices.Contains(readingOptions[b.connector], name):
			s.Reading[name] = change.Hash(o.Value + "\x00" + strings.Join(o.List, "\x00"))
		default:
			s.Place[name] = change.Hash(o.Value + "\x00" + strings.Join(o.List, "\x00"))
		}
	}
	if b.format != "" {
		s.Reading["format"] = change.Hash(b.format)
	}
	s.AnyColumn, s.AnyText = b.connector == "nexmark", b.format == "json"
	return s
}

// defaultOf is what an option of a source is without being said, so that saying it changes nothing.
func defaultOf(connector, name string) string {
	for _, o := range map[string][]ddl.OptionSpec{"file": fileOptions, "kafka": kafkaOptions}[connector] {
		if o.Name == name && o.Default != "" {
			return o.Default
		}
	}
	return "\x00"
}

// identity says where a view goes.
func (b *sinkBinding) identity() change.Sink {
	switch b.kind {
	case toPostgres:
		table, schema := b.options["table"], b.options["schema"]
		if table == "" {
			table = b.View
		}
		if schema == "" {
			schema = "public"
		}
		return change.Sink{Kind: "postgres", Where: psqlIdent(schema) + "." + psqlIdent(table), Kept: true}
	case toFiles:
		var layout []string
		for name, value := range b.options {
			if name != "path" {
				layout = append(layout, name+"="+value)
			}
		}
		sort.Strings(layout)
		doc, err := json.Marshal(layout)
		if err != nil {
			panic("sluice: strings cannot be encoded: " + err.Error())
		}
		return change.Sink{Kind: "file", Where: b.options["path"], Layout: change.Hash(string(doc)), Kept: true}
	case toKafka:
		layout := b.kafka.Layout
		doc, err := json.Marshal([]any{layout.Mode, layout.Format, layout.KeyFormat, layout.Key})
		if err != nil {
			panic("sluice: strings cannot be encoded: " + err.Error())
		}
		return change.Sink{Kind: "kafka", Where: layout.Topic, Layout: change.Hash(string(doc)), Kept: true}
	case toStdout:
		return change.Sink{Kind: "stdout"}
	}
	return change.Sink{Kind: "blackhole"}
}
