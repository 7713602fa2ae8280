package main

import (
	"path/filepath"
	"strings"

	"github.com/sluice-sql/sluice/sources/nexmark"
)

// A scratch says where a copy of a pipeline writes, so that it touches nothing of the original. nil is no copy.
type scratch struct {
	// Schema is where all its tables are, each under its view's name.
	Schema string `json:"schema"`
	// Dir is where its file sinks write, a directory each.
	Dir string `json:"dir"`
	// Events is what a generator without an end gives.
	Events int64 `json:"events"`
}

// redirect sends a copy's sinks elsewhere. Rows that would be printed are dropped.
func (s *scratch) redirect(sinks []sinkBinding) {
	if s == nil {
		return
	}
	for i := range sinks {
		b := &sinks[i]
		switch b.kind {
		case toPostgres:
			b.options["schema"], b.options["table"] = s.Schema, b.output.Name
			delete(b.options, "adopt")
		case toFiles:
			b.files.Dir = filepath.Join(s.Dir, b.Name)
		case toKafka:
			b.kafka.Layout.Topic = s.Schema + "." + filepath.Base(s.Dir) + "." + plainTopic(b.Name)
		case toStdout:
			b.kind = toBlackhole
		}
	}
}

// plainTopic makes a name that a topic can have.
func plainTopic(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}

// bound gives a copy's generator an end, and has it give its events at once.
func (s *scratch) bound(o *nexmark.Options) {
	if s == nil {
		return
	}
	if o.Rate = 0; o.Events == 0 {
		o.Events = s.Events
	}
}
