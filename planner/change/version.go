// Package change compares two versions of a pipeline, operator by operator, and says whether the newer one can
// go on from the state of the older.
//
// Start reading at Version, which is what the checkpoint log keeps of a program; Of makes it, Compare judges
// two, and Adopt makes a program use the states that a log has.
package change

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/planner"
)

// Format is the version of Version itself; a log with a newer one is not understood.
const Format = 1

// Version is what a log remembers of the program that wrote it: a fingerprint for every source, state and
// output. It holds no query text and no option values.
type Version struct {
	Format  int      `json:"format"`
	Sources []Source `json:"sources"`
	States  []State  `json:"states"`
	Outputs []Output `json:"outputs"`
	// Since is the last batch of the version before this one, 0 if this is the first: batches up to it were
	// made by another program.
	Since int64 `json:"since,omitempty"`
	// Dropped are states of earlier versions that older records of the log still mention.
	Dropped []string `json:"dropped,omitempty"`
	// BaseDir is where relative directories of sinks are. Why the log does not have it: a pipeline that is moved
	// with its directories is the same, and one that is moved without them has sinks without a ledger.
	BaseDir string `json:"-"`
}

// Source identifies a source.
type Source struct {
	Name string `json:"name"`
	// Place are hashes of the options that say which rows there are at all: if one differs, a recorded offset
	// means another row.
	Place map[string]string `json:"place"`
	// Reading are hashes of the options and declarations that say what a row is: if one differs, the same bytes
	// give other rows.
	Reading map[string]string `json:"reading"`
	Columns []Column          `json:"columns"`
	// AnyText says that a column of type VARCHAR can be read from every row.
	AnyText bool `json:"any_text,omitempty"`
	// AnyColumn says that a column of any type can: the rows are generated.
	AnyColumn bool `json:"any_column,omitempty"`
}

// Column is a declared column.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Metadata is the key of a source's column that its connector fills in; empty otherwise.
	Metadata string `json:"metadata,omitempty"`
}

// String is the column as it is declared.
func (c Column) String() string {
	if c.Metadata == "" {
		return c.Name + " " + c.Type
	}
	return c.Name + " " + c.Type + " METADATA FROM '" + c.Metadata + "'"
}

// State identifies a state table: what fills it, and how it is laid out.
type State struct {
	// Name is the one that the log's records use.
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"`
	// Sources are those that it is made of.
	Sources []string `json:"sources,omitempty"`
}

// Output identifies a view whose changes go to sinks.
type Output struct {
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"`
	// Columns are those of its tables.
	Columns []Column `json:"columns"`
	// Sources and States are those that it is made of; states by their fingerprints.
	Sources []string `json:"sources,omitempty"`
	States  []string `json:"states,omitempty"`
	Sinks   []Sink   `json:"sinks,omitempty"`
	// Operators is its plan, the output first.
	Operators []Operator `json:"operators,omitempty"`
}

// Sink is where an output goes.
type Sink struct {
	// Kind is the connector.
	Kind string `json:"kind"`
	// Where is a table or a directory, as the file names it; two sinks with the same are the same.
	Where string `json:"where,omitempty"`
	// Layout hashes the options that say how rows are written.
	Layout string `json:"layout,omitempty"`
	// Kept says that it holds what earlier batches wrote: a sink without has nothing to be completed.
	Kept bool `json:"kept,omitempty"`
}

// Operator is a line of a plan, for messages: verdicts rest on the fingerprints of states and outputs.
type Operator struct {
	Depth int    `json:"depth"`
	Op    string `json:"op"`
	// Fingerprint is of the operator and all below it.
	Fingerprint string `json:"fingerprint"`
	Detail      string `json:"detail,omitempty"`
}

// Decode reads what a log says; nil for a log that says nothing, which an older program wrote.
func Decode(doc []byte) (*Version, error) {
	if len(doc) == 0 {
		return nil, nil
	}
	v := new(Version)
	if err := json.Unmarshal(doc, v); err != nil {
		return nil, fmt.Errorf("read the operators' fingerprints in the log: %w", err)
	}
	if v.Format > Format {
		return nil, fmt.Errorf("the operators' fingerprints in the log have format %d, and this sluice knows %d\nHint: use the newer sluice that wrote them", v.Format, Format)
	}
	return v, nil
}

// Encode is the inverse of Decode.
func (v *Version) Encode() []byte {
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("change: a version cannot be encoded: %v", err))
	}
	return b
}

// Of fingerprints a planned pipeline. Sources' places and readings and outputs' sinks are the caller's to fill
// in: the planner does not know connectors.
func Of(p *planner.Pipeline, sources []Source) *Version {
	v := &Version{Format: Format, Sources: sources, States: []State{}, Outputs: []Output{}}
	g := newGraph(p.Program)
	for i, in := range p.Program.Sources {
		s := &v.Sources[i]
		if s.Reading == nil {
			s.Reading = map[string]string{}
		}
		for what, value := range declared(in) {
			s.Reading[what] = Hash(value)
		}
		s.Columns = sourceColumns(in)
	}
	prints := map[string]string{}
	for _, s := range p.Program.States {
		c := g.canonical(rootState, s.Name)
		prints[s.Name] = c.hash()
		v.States = append(v.States, State{Name: s.Name, Fingerprint: c.hash(), Sources: c.sources})
	}
	explains := map[string]*planner.Explain{}
	for _, view := range p.Views {
		explains[view.Name] = view.Explain
	}
	for _, o := range p.Program.Outputs {
		c := g.canonical(rootOutput, o.Name)
		out := Output{Name: o.Name, Fingerprint: c.hash(), Columns: columns(o.Columns), Sources: c.sources, Operators: operators(explains[o.Name], o.Name)}
		for _, s := range c.states {
			out.States = append(out.States, prints[s])
		}
		v.Outputs = append(v.Outputs, out)
	}
	return v
}

// Hash shortens a value that is only compared.
func Hash(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:8])
}

// operators lists a plan from the output down.
func operators(ex *planner.Explain, view string) []Operator {
	var out []Operator
	var walk func(ex *planner.Explain, depth int) string
	walk = func(ex *planner.Explain, depth int) string {
		at := len(out)
		out = append(out, Operator{Depth: depth, Op: strings.TrimSuffix(ex.Op, " "+view), Detail: ex.Detail})
		text := []string{out[at].Op, ex.Detail, ex.Class, ex.Mode}
		for _, ch := range ex.Below() {
			text = append(text, walk(ch, depth+1))
		}
		out[at].Fingerprint = Hash(strings.Join(text, "\x00"))
		return out[at].Fingerprint
	}
	if ex != nil {
		walk(ex, 0)
	}
	return out
}

// placedAs is a version with its directories named as another one names them: the same directory may be written as a
// relative path and as an absolute one, which logs had at first.
func (v *Version) placedAs(now *Version) *Version {
	out := *v
	out.Outputs = slices.Clone(v.Outputs)
	for i, o := range out.Outputs {
		out.Outputs[i].Sinks = slices.Clone(o.Sinks)
		for j, s := range o.Sinks {
			if s.Kind == fileKind {
				out.Outputs[i].Sinks[j].Where = now.nameOf(s.Where)
			}
		}
	}
	return &out
}

const fileKind = "file"

// nameOf is what the version calls a directory, which is the same word where it does not write there.
func (v *Version) nameOf(dir string) string {
	for _, o := range v.Outputs {
		for _, s := range o.Sinks {
			if s.Kind == fileKind && v.absolute(s.Where) == v.absolute(dir) {
				return s.Where
			}
		}
	}
	return dir
}

func (v *Version) absolute(dir string) string {
	if filepath.IsAbs(dir) {
		return filepath.Clean(dir)
	}
	return filepath.Join(v.BaseDir, dir)
}

// TakeSinks makes the views go where those of another version go.
func (v *Version) TakeSinks(from *Version) {
	for i := range v.Outputs {
		for _, o := range from.Outputs {
			if o.Name == v.Outputs[i].Name {
				v.Outputs[i].Sinks = o.Sinks
			}
		}
	}
}
