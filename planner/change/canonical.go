package change

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// A state or an output is identified by everything that makes it: its layout, the statements that write it,
// what those read, and so on down to the sources' columns. The names of temp tables and states hold counters,
// which a view in front shifts; so they are numbered anew in the order in which they are met.
//
// Why the statements and not the operators: they are what runs. Whatever rule or optimization the planner gains,
// two equal texts over equal inputs do the same, and a rule that changes shows as a change.

// graph finds by name what a program consists of.
type graph struct {
	program *planner.Program
	sources map[string]int   // by in_NAME
	states  map[string]int   // by name
	writes  map[string][]int // steps, by the temp table, state or output they write
	setup   map[string][]int // statements, by the macro or view that they make
}

type rootKind int

const (
	rootState rootKind = iota
	rootOutput
)

func newGraph(p *planner.Program) *graph {
	g := &graph{program: p, sources: map[string]int{}, states: map[string]int{}, writes: map[string][]int{}, setup: map[string][]int{}}
	for i, s := range p.Sources {
		g.sources["in_"+s.Name] = i
	}
	for i, s := range p.States {
		g.states[s.Name] = i
	}
	for i, s := range p.Steps {
		g.writes[writeKey(s.Kind, s.Target)] = append(g.writes[writeKey(s.Kind, s.Target)], i)
	}
	for i, sql := range p.Setup {
		if name := created(sql); name != "" {
			g.setup[name] = append(g.setup[name], i)
		}
	}
	return g
}

func writeKey(k planner.StepKind, target string) string {
	switch k {
	case planner.Apply:
		return "state " + target
	case planner.Emit:
		return "output " + target
	case planner.Check:
		return "check " + target
	}
	return "table " + target
}

// created is the name, in lower case, of what CREATE … makes; Setup has views and macros only.
func created(sql string) string {
	for t := range tokens(sql) {
		switch word := strings.ToLower(t.name); {
		case t.name == "", !t.quoted && slices.Contains([]string{"create", "or", "replace", "temp", "temporary", "macro", "function", "view", "if", "not", "exists"}, word):
			continue
		default:
			return word
		}
	}
	return ""
}

// canon is a canonical text in the making.
type canon struct {
	g       *graph
	b       strings.Builder
	numbers map[string]int
	sources []string
	states  []string
	columns map[string]bool // names that statements mention
}

func (g *graph) canonical(kind rootKind, name string) *canon {
	c := &canon{g: g, numbers: map[string]int{}, columns: map[string]bool{}}
	if kind == rootState {
		c.state(name)
	} else {
		c.output(name)
	}
	slices.Sort(c.sources)
	for _, s := range c.sources {
		c.source(s)
	}
	slices.Sort(c.states)
	return c
}

func (c *canon) hash() string {
	sum := sha256.Sum256([]byte(c.b.String()))
	return hex.EncodeToString(sum[:12])
}

// number gives what a name is called, and says whether it was met before.
func (c *canon) number(key string) (int, bool) {
	n, met := c.numbers[key]
	if !met {
		n = len(c.numbers)
		c.numbers[key] = n
	}
	return n, met
}

func (c *canon) state(name string) {
	n, met := c.number("state " + name)
	if met {
		return
	}
	c.states = append(c.states, name)
	s := c.g.program.States[c.g.states[name]]
	fmt.Fprintf(&c.b, "state %d key %d prefix %d weighted %v evict %d waiting %v", n, s.NKey, s.NPrefix, s.Weighted, s.EvictColumn, s.Waiting)
	for _, f := range s.Cols {
		fmt.Fprintf(&c.b, " %q %s", f.Name, f.Type)
	}
	c.b.WriteString("\n")
	if s.EvictColumn >= 0 {
		c.sql(s.EvictSQL, len(c.g.program.Steps))
	}
	c.steps("state " + name)
}

func (c *canon) output(name string) {
	for _, o := range c.g.program.Outputs {
		if o.Name != name {
			continue
		}
		fmt.Fprintf(&c.b, "output %s key %v", o.Mode, o.Key)
		for _, f := range o.Columns {
			fmt.Fprintf(&c.b, " %s", f.Type)
		}
		c.b.WriteString("\n")
	}
	c.steps("output " + name)
}

// steps writes those that write one thing, in their order.
func (c *canon) steps(key string) {
	for _, i := range c.g.writes[key] {
		s := c.g.program.Steps[i]
		fmt.Fprintf(&c.b, "%s ", s.Kind)
		c.sql(s.SQL, i)
	}
}

// sql writes a statement with its names numbered, and then what those names are. A name is followed by how
// often it was written before this step: a state read before it is changed is another than the same after.
func (c *canon) sql(text string, at int) {
	var later []func()
	rest := text
	end := 0
	for t := range tokens(text) {
		c.b.WriteString(text[end:t.start])
		end = t.end
		if key, suffix, then := c.resolve(t); key != "" {
			n, _ := c.number0(key)
			fmt.Fprintf(&c.b, "<%d.%d%s>", n, c.before(key, at), suffix)
			later = append(later, then)
			continue
		}
		c.columns[strings.ToLower(t.name)] = true
		c.b.WriteString(text[t.start:t.end])
	}
	c.b.WriteString(rest[end:] + "\n")
	for _, f := range later {
		f()
	}
}

// number0 numbers a name in the order of mention, apart from whether its definition was written.
func (c *canon) number0(key string) (int, bool) { return c.number("name of " + key) }

// resolve finds what of the program's own a word names. then writes its definition.
func (c *canon) resolve(t token) (key, suffix string, then func()) {
	if i, ok := c.g.sources[t.name]; ok {
		name := c.g.program.Sources[i].Name
		if !slices.Contains(c.sources, name) {
			c.sources = append(c.sources, name)
		}
		return "source " + name, " " + name, func() {}
	}
	if base, call := stateOf(t.name); call != "" {
		if _, ok := c.g.states[base]; ok {
			return "state " + base, call, func() { c.state(base) }
		}
	}
	if !t.quoted || strings.HasPrefix(t.name, "_") {
		if _, ok := c.g.writes["table "+t.name]; ok {
			return "table " + t.name, "", func() {
				if _, met := c.number("table " + t.name); !met {
					c.steps("table " + t.name)
				}
			}
		}
	}
	if list, ok := c.g.setup[strings.ToLower(t.name)]; ok {
		return c.defined(strings.ToLower(t.name), t.name, list)
	}
	return "", "", nil
}

// defined is resolve for macros and views, which keep their names: the user's own.
func (c *canon) defined(key, name string, list []int) (string, string, func()) {
	return "setup " + key, " " + name, func() {
		if _, met := c.number("setup " + key); met {
			return
		}
		for _, i := range list {
			c.b.WriteString("setup ")
			c.sql(c.g.program.Setup[i], len(c.g.program.Steps))
		}
	}
}

// stateOf splits STATE_get, STATE_rows, STATE_scan and STATE_due.
func stateOf(name string) (state, call string) {
	for _, call := range []string{"_get", "_rows", "_scan", "_due"} {
		if base, ok := strings.CutSuffix(name, call); ok {
			return base, call
		}
	}
	return "", ""
}

// before counts the steps that have written a thing when step at runs.
func (c *canon) before(key string, at int) int {
	n := 0
	for _, i := range c.g.writes[key] {
		if i < at {
			n++
		}
	}
	return n
}

// source writes what the statements see of a source: the columns that they mention, and its declaration.
func (c *canon) source(name string) {
	in := c.g.program.Sources[c.g.sources["in_"+name]]
	fmt.Fprintf(&c.b, "source %q", name)
	for _, col := range sourceColumns(in) {
		if !c.columns[strings.ToLower(col.Name)] {
			continue
		}
		fmt.Fprintf(&c.b, " %q %s", col.Name, col.Type)
		if col.Metadata != "" {
			fmt.Fprintf(&c.b, " metadata %q", col.Metadata)
		}
	}
	c.b.WriteString("\n")
	// What a prelude proves of a source's rows is a part of every view over it.
	for _, i := range c.g.writes["check "+name] {
		c.b.WriteString("check ")
		c.sql(c.g.program.Steps[i].SQL, i)
	}
}

// declared is what a declaration says about rows, beside the columns.
func declared(in planner.SourceInput) map[string]string {
	names := func(list []int) string {
		var out []string
		for _, i := range list {
			out = append(out, in.Columns[i].Name)
		}
		return strings.Join(out, ", ")
	}
	event := ""
	if in.EventTime >= 0 {
		event = in.Columns[in.EventTime].Name
	}
	return map[string]string{
		"WATERMARK":        event + " " + in.WatermarkSQL,
		"allowed_lateness": in.Lateness.String(),
		"max_future":       in.MaxFuture.String(),
		"PRIMARY KEY":      names(in.Key),
		"batch_time":       names(in.BatchTime),
		"kind":             fmt.Sprintf("%s table %v static %v", in.Changes, in.Table, in.Static),
	}
}

func columns(fields []vector.Field) []Column {
	out := make([]Column, len(fields))
	for i, f := range fields {
		out[i] = Column{Name: f.Name, Type: f.Type.String()}
	}
	return out
}

// sourceColumns is columns of a source, with the keys of its metadata.
func sourceColumns(in planner.SourceInput) []Column {
	out := columns(in.Columns)
	for _, m := range in.Metadata {
		out[m.Column].Metadata = m.Key
	}
	return out
}
