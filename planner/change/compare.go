package change

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Verdict says what a newer version can do with the log of an older one; a later one is worse.
type Verdict int

const (
	// Identical: the same program, whatever the text looks like.
	Identical Verdict = iota
	// Compatible: it goes on from the log's state.
	Compatible
	// Rebuild: some view has to be computed from the beginning of the sources.
	Rebuild
	// Incompatible: the recorded offsets mean other rows.
	Incompatible
)

func (v Verdict) String() string {
	return [...]string{"identical", "compatible", "needs rebuild", "incompatible source"}[v]
}

// MarshalText implements encoding.TextMarshaler.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// A Change is one difference.
type Change struct {
	Verdict Verdict `json:"verdict"`
	// What is "view", "source" or "sink", and Name its name.
	What string `json:"what"`
	Name string `json:"name"`
	// Operator is the one that makes a view another, empty if it is none.
	Operator string `json:"operator,omitempty"`
	// Detail says what is different and what comes of it.
	Detail string `json:"detail"`
}

func (c Change) String() string {
	if c.Operator != "" {
		return fmt.Sprintf("%s %s, operator %s: %s", c.What, c.Name, c.Operator, c.Detail)
	}
	return fmt.Sprintf("%s %s: %s", c.What, c.Name, c.Detail)
}

// Diff is what Compare finds: the worst verdict, and every change.
type Diff struct {
	Verdict Verdict  `json:"verdict"`
	Changes []Change `json:"changes"`
}

// Worst lists the changes with the diff's own verdict.
func (d *Diff) Worst() []Change {
	return slices.DeleteFunc(slices.Clone(d.Changes), func(c Change) bool { return c.Verdict != d.Verdict })
}

// add notes a change.
func (d *Diff) add(v Verdict, what, name, operator, detail string, args ...any) {
	d.Verdict = max(d.Verdict, v)
	d.Changes = append(d.Changes, Change{v, what, name, operator, fmt.Sprintf(detail, args...)})
}

// Compare judges whether a version can go on from the log of an older one.
func Compare(old, now *Version) Diff {
	old = old.placedAs(now)
	d := &Diff{Changes: []Change{}}
	reread := map[string]bool{} // sources whose rows are read otherwise
	for _, s := range now.Sources {
		if i := slices.IndexFunc(old.Sources, func(o Source) bool { return o.Name == s.Name }); i >= 0 {
			reread[s.Name] = d.source(old.Sources[i], s, now)
		} else {
			d.add(Compatible, "source", s.Name, "", "is new; it is read from its beginning")
		}
	}
	for _, s := range old.Sources {
		if !slices.ContainsFunc(now.Sources, func(n Source) bool { return n.Name == s.Name }) {
			d.add(Compatible, "source", s.Name, "", "is no longer read")
		}
	}
	d.outputs(old, now, reread)
	if _, ok := match(now, old); !ok && d.Verdict < Rebuild {
		// Two views that share a state need more of it than one: its fingerprint is then new without any
		// view's own operators being so.
		d.add(Rebuild, "view", firstUnmatched(old, now), "", "shares state with another view that needs more of it than is kept")
	}
	if d.Verdict == Identical && !now.equal(old) {
		d.Verdict = Compatible
	}
	return *d
}

// source compares a source and says whether its rows are read otherwise, so that every view over it has to be
// rebuilt.
func (d *Diff) source(old, now Source, v *Version) (reread bool) {
	if names := differing(old.Place, now.Place); len(names) > 0 {
		d.add(Incompatible, "source", now.Name, "", "%s changed: the recorded offsets would mean other rows", strings.Join(names, ", "))
		return false
	}
	used := slices.ContainsFunc(v.Outputs, func(o Output) bool { return slices.Contains(o.Sources, now.Name) })
	judge := func(detail string, args ...any) {
		if used {
			reread = true
			d.add(Rebuild, "source", now.Name, "", detail, args...)
		} else {
			d.add(Compatible, "source", now.Name, "", detail+"; no view reads it", args...)
		}
	}
	if names := differing(old.Reading, now.Reading); len(names) > 0 {
		judge("%s changed: rows that were read already would be other rows", strings.Join(names, ", "))
	}
	for _, c := range now.Columns {
		if slices.Contains(old.Columns, c) {
			continue
		}
		if now.takes(c) {
			d.add(Compatible, "source", now.Name, "", "column %s is new", c)
		} else {
			judge("column %s is new: rows in which it cannot be read would have been refused", c)
		}
	}
	for _, c := range old.Columns {
		if slices.Contains(now.Columns, c) {
			continue
		}
		if now.takes(c) {
			d.add(Compatible, "source", now.Name, "", "column %s is gone", c)
		} else {
			judge("column %s is gone: rows in which it could not be read were refused", c)
		}
	}
	if !now.AnyText && !now.AnyColumn && len(old.Columns) == len(now.Columns) && !slices.Equal(old.Columns, now.Columns) && sameSet(old.Columns, now.Columns) {
		judge("the order of its columns changed")
	}
	return reread
}

// takes says that a column cannot make a row unreadable. Metadata cannot, but for bytes declared as text.
func (s Source) takes(c Column) bool {
	return s.AnyColumn || s.AnyText && c.Type == "VARCHAR" || c.Metadata != "" && !strings.Contains(c.Type, "VARCHAR")
}

func sameSet(a, b []Column) bool {
	return !slices.ContainsFunc(a, func(c Column) bool { return !slices.Contains(b, c) })
}

// differing lists the keys whose values are not the same, one that is missing included.
func differing(a, b map[string]string) []string {
	var out []string
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			out = append(out, k)
		}
	}
	for k := range maps.Keys(b) {
		if _, ok := a[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

func (d *Diff) outputs(old, now *Version, reread map[string]bool) {
	find := func(v *Version, name string) *Output {
		for i := range v.Outputs {
			if v.Outputs[i].Name == name {
				return &v.Outputs[i]
			}
		}
		return nil
	}
	renamed := map[string]bool{}
	for i := range now.Outputs {
		o := &now.Outputs[i]
		for _, s := range o.Sources {
			if reread[s] {
				d.add(Rebuild, "view", o.Name, "scan "+s, "reads rows that changed")
			}
		}
		if was := find(old, o.Name); was != nil {
			d.output(was, o)
			continue
		}
		was := ""
		for _, c := range old.Outputs {
			if was == "" && !renamed[c.Name] && find(now, c.Name) == nil && c.Fingerprint == o.Fingerprint && slices.Equal(c.Columns, o.Columns) && sameKept(c.Sinks, o.Sinks) {
				was = c.Name
			}
		}
		switch {
		case was != "":
			renamed[was] = true
			d.add(Compatible, "view", o.Name, "", "was called %s, and goes where that went", was)
		case !slices.ContainsFunc(o.Sinks, func(s Sink) bool { return s.Kept }) && hasStates(old, o):
			d.add(Compatible, "view", o.Name, "", "is new, and shows what changes from now on")
		default:
			d.add(Rebuild, "view", o.Name, "", "is new: it lacks the rows of what was read already")
		}
	}
	for _, o := range old.Outputs {
		if find(now, o.Name) == nil && !renamed[o.Name] {
			d.add(Compatible, "view", o.Name, "", "is gone; what it wrote stays as it is, and no pipeline's")
		}
	}
}

// output compares a view that both versions have.
func (d *Diff) output(old, now *Output) {
	if op, detail := different(old, now); detail != "" {
		d.add(Rebuild, "view", now.Name, op, "%s", detail)
		return
	}
	for _, s := range now.Sinks {
		i := slices.IndexFunc(old.Sinks, func(o Sink) bool { return o.Kind == s.Kind && o.Where == s.Where })
		switch {
		case i >= 0 && old.Sinks[i].Layout == s.Layout:
		case !s.Kept:
			d.add(Compatible, "sink", now.Name, "", "now also goes to %s", s.Kind)
		case i >= 0:
			d.add(Rebuild, "sink", now.Name, "", "options of %s %s changed that say how rows are written", s.Kind, s.Where)
		default:
			d.add(Rebuild, "sink", now.Name, "", "goes to %s %s, which lacks what was written already", s.Kind, s.Where)
		}
	}
	for _, s := range old.Sinks {
		if !slices.ContainsFunc(now.Sinks, func(n Sink) bool { return n.Kind == s.Kind && n.Where == s.Where }) {
			d.add(Compatible, "sink", now.Name, "", "%s is no longer written", strings.TrimSpace(s.Kind+" "+s.Where))
		}
	}
}

// different says which operator makes a view another, and how; empty if it is the same.
func different(old, now *Output) (operator, detail string) {
	if old.Fingerprint != now.Fingerprint {
		if a, b := firstDifference(tree(old.Operators), tree(now.Operators)); a != nil {
			return name(b), became(a, b)
		}
		return name(root(now.Operators)), "is maintained by other statements or another state"
	}
	if !slices.Equal(old.Columns, now.Columns) {
		return "output", fmt.Sprintf("gives columns %s, and gave %s", list(now.Columns), list(old.Columns))
	}
	return "", ""
}

func list(columns []Column) string {
	var out []string
	for _, c := range columns {
		out = append(out, c.Name+" "+c.Type)
	}
	return "(" + strings.Join(out, ", ") + ")"
}

// opTree is a plan with its operators' inputs.
type opTree struct {
	Operator
	below []*opTree
}

func tree(ops []Operator) *opTree {
	if len(ops) == 0 {
		return nil
	}
	nodes := make([]*opTree, len(ops))
	var open []*opTree // by depth
	for i, op := range ops {
		nodes[i] = &opTree{Operator: op}
		open = append(open[:min(op.Depth, len(open))], nodes[i])
		if op.Depth > 0 && len(open) > 1 {
			above := open[len(open)-2]
			above.below = append(above.below, nodes[i])
		}
	}
	return nodes[0]
}

func root(ops []Operator) *opTree { return tree(ops) }

// firstDifference is the topmost pair of operators that are not the same by themselves.
func firstDifference(a, b *opTree) (*opTree, *opTree) {
	if a == nil || b == nil || a.Fingerprint == b.Fingerprint {
		return nil, nil
	}
	if a.Op != b.Op || a.Detail != b.Detail || len(a.below) != len(b.below) {
		return a, b
	}
	for i := range a.below {
		if x, y := firstDifference(a.below[i], b.below[i]); x != nil {
			return x, y
		}
	}
	return a, b
}

func name(t *opTree) string {
	if t == nil {
		return "output"
	}
	return t.Op
}

// became says what an operator is now and what it was.
func became(was, now *opTree) string {
	if was.Op == now.Op && was.Detail != now.Detail {
		return fmt.Sprintf("%s; it was %s", now.Detail, was.Detail)
	}
	if was.Op == now.Op {
		return "is maintained by other statements, because of what it reads"
	}
	if now.Detail == "" {
		return fmt.Sprintf("is in the place of %s", describe(was))
	}
	return fmt.Sprintf("%s; it was %s", now.Detail, describe(was))
}

func describe(t *opTree) string {
	if t.Detail == "" {
		return t.Op
	}
	return t.Op + " (" + t.Detail + ")"
}

func sameKept(a, b []Sink) bool {
	kept := func(list []Sink) []Sink {
		return slices.DeleteFunc(slices.Clone(list), func(s Sink) bool { return !s.Kept })
	}
	a, b = kept(a), kept(b)
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s Sink) bool { return !slices.Contains(b, s) })
}

// hasStates says that a version keeps all that an output needs.
func hasStates(v *Version, o *Output) bool {
	return !slices.ContainsFunc(o.States, func(print string) bool {
		return !slices.ContainsFunc(v.States, func(s State) bool { return s.Fingerprint == print })
	})
}

// firstUnmatched names a view with a state that the older version lacks.
func firstUnmatched(old, now *Version) string {
	for i := range now.Outputs {
		if !hasStates(old, &now.Outputs[i]) {
			return now.Outputs[i].Name
		}
	}
	return "?"
}
