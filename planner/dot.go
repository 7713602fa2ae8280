package planner

import (
	"fmt"
	"io"
	"strings"
)

// WriteDot prints a pipeline's plan for Graphviz: sources at the left, then the operators in the direction
// in which changes flow, each with its state, and the sinks at the right. What views share is there once.
func WriteDot(w io.Writer, p *Pipeline) error {
	d := &dot{pipeline: p, ids: map[*Explain]string{}, drawn: map[string]bool{}}
	d.b.WriteString("digraph pipeline {\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\", fontsize=10];\n  edge [fontname=\"monospace\", fontsize=9];\n")
	for _, v := range p.Views {
		d.operator(v.Explain)
	}
	for i, s := range p.Sinks {
		d.sink(i, s)
	}
	d.b.WriteString("}\n")
	_, err := io.WriteString(w, d.b.String())
	return err
}

type dot struct {
	pipeline *Pipeline
	b        strings.Builder
	ids      map[*Explain]string
	drawn    map[string]bool // sources
}

// operator draws an operator with what is below it, and returns its id.
func (d *dot) operator(ex *Explain) string {
	if ex.same != nil {
		return d.ids[ex.same]
	}
	id := "op" + itoa(len(d.ids))
	d.ids[ex] = id
	lines := []string{ex.Op, ex.Class + ", " + ex.Mode}
	if len(ex.Key) > 0 {
		lines[1] += ", key " + strings.Join(ex.Key, ", ")
	}
	for _, line := range ex.about(d.pipeline.Program) {
		if !strings.HasPrefix(line, "state ") {
			lines = append(lines, wrapped(line)...)
		}
	}
	style := ""
	switch {
	case len(ex.Scans) > 0 || ex.Class == "full":
		style = ", color=red"
	case ex.Class == "sink":
		style = ", shape=note"
	}
	fmt.Fprintf(&d.b, "  %s [label=%s%s];\n", id, label(lines), style)
	for _, name := range ex.States {
		d.state(id, name)
	}
	if source, ok := strings.CutPrefix(ex.Op, "scan "); ok {
		d.source(id, source)
	} else if source, ok := strings.CutPrefix(ex.Op, "table "); ok {
		d.source(id, source)
	}
	if ex.Class == "full" {
		for _, s := range d.pipeline.Sources {
			d.source(id, s.Name)
		}
	}
	for _, ch := range ex.Children {
		from := d.operator(ch)
		fmt.Fprintf(&d.b, "  %s -> %s [label=%s];\n", from, id, label([]string{ch.Mode}))
	}
	return id
}

// state draws a state beside its operator; a kept input may have several.
func (d *dot) state(operator, name string) {
	if !d.drawn["state "+name] {
		d.drawn["state "+name] = true
		lines := append([]string{name}, wrapped(d.pipeline.Program.stateText(name))...)
		fmt.Fprintf(&d.b, "  %s [label=%s, shape=cylinder];\n", quoted("state "+name), label(lines))
	}
	fmt.Fprintf(&d.b, "  %s -> %s [dir=both, style=dashed, constraint=false];\n", quoted("state "+name), operator)
}

func (d *dot) source(operator, name string) {
	if !d.drawn["source "+name] {
		d.drawn["source "+name] = true
		fmt.Fprintf(&d.b, "  %s [label=%s, shape=folder];\n", quoted("source "+name), label([]string{"source " + name}))
	}
	fmt.Fprintf(&d.b, "  %s -> %s;\n", quoted("source "+name), operator)
}

func (d *dot) sink(i int, s Sink) {
	for _, v := range d.pipeline.Views {
		if v.Name == s.View {
			fmt.Fprintf(&d.b, "  sink%d [label=%s, shape=folder];\n  %s -> sink%d;\n", i, label([]string{"sink " + s.Name}), d.ids[v.Explain], i)
		}
	}
}

// label is a quoted text of several lines, flush left.
func label(lines []string) string {
	if len(lines) == 1 {
		return quoted(lines[0])
	}
	text := ""
	for _, l := range lines {
		text += escaped(l) + `\l`
	}
	return `"` + text + `"`
}

func quoted(s string) string { return `"` + escaped(s) + `"` }

func escaped(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ").Replace(s)
}

// maxDotLine is about how long a line of a node gets.
const maxDotLine = 60

// wrapped breaks a text at spaces.
func wrapped(text string) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > maxDotLine {
			out = append(out, line)
			line = "  "
		} else if line != "" {
			line += " "
		}
		line += word
	}
	return append(out, line)
}
