package planner

import (
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/planner/ddl"
)

// Accept checks that a sink can take the changes of its view; every connector says which changelog modes
// it takes. The error points at the sink and names the operator that makes rows change; hints say what else
// this connector could do about it.
func (p *Pipeline) Accept(s Sink, connector string, modes []ChangeMode, hints ...string) error {
	out := p.output(s.View)
	if s.Decl == nil || out == nil || slices.Contains(modes, out.Mode) {
		return nil
	}
	reason := "its rows are updated"
	if out.Mode == Multiset {
		reason = "its rows are inserted and deleted again"
	}
	if by := p.updatedBy(s.View); by != "" {
		reason += " by " + by
	}
	takes := modes[0].String()
	for _, m := range modes[1:] {
		takes += " or " + m.String()
	}
	if p.windowed(s.View) {
		hints = append([]string{"add EMIT ON WINDOW CLOSE to the view, which then gives each window's rows once"}, hints...)
	}
	err := p.File.Errorf(s.Decl.Name.Span, "view %q cannot go to connector '%s', which takes only %s changes: %s", s.View, connector, takes, reason)
	if len(hints) == 0 {
		return err
	}
	return err.WithHint("%s", strings.Join(hints, "; or "))
}

func (p *Pipeline) output(view string) *Output {
	for i := range p.Program.Outputs {
		if p.Program.Outputs[i].Name == view {
			return &p.Program.Outputs[i]
		}
	}
	return nil
}

// updatedBy names the operator nearest to the sources whose rows change although those below are only
// inserted.
func (p *Pipeline) updatedBy(view string) string {
	for _, v := range p.Views {
		if v.Name != view || v.Explain == nil {
			continue
		}
		if v.Fallback != "" {
			return "recomputing the view in full, because " + v.Fallback
		}
		if ex := v.Explain.firstUpdate(); ex != nil {
			name := "the " + ex.Op
			if ex.Detail != "" {
				name += " (" + ex.Detail + ")"
			}
			return name
		}
	}
	return ""
}

func (ex *Explain) firstUpdate() *Explain {
	for _, ch := range ex.Children {
		if found := ch.firstUpdate(); found != nil {
			return found
		}
	}
	if ex.Mode != Append.String() && ex.Class != "sink" {
		return ex
	}
	return nil
}

// windowed says whether a view's query calls a window macro, so that its windows close.
func (p *Pipeline) windowed(view string) bool {
	for _, v := range p.Views {
		if v.Name == view {
			text := strings.ToLower(v.Query)
			return slices.ContainsFunc([]string{"tumble", "hop", "cumulate", "session"}, func(name string) bool {
				return strings.Contains(text, name+"(")
			})
		}
	}
	return false
}

// zset says whether a sink wants a view as a Z-set: every change with its weight, whatever the key.
type zset uint8

const (
	noZSet zset = iota
	plainZSet
	keyedZSet // and what the key is
)

// changelogs are the views that a sink wants as Z-sets: mode = 'changelog', or 'debezium' for change events.
//
// Why the planner looks at an option: what a keyed view's update took away is known only inside the program.
func changelogs(f *ddl.File) map[string]zset {
	out := map[string]zset{}
	for _, st := range f.Statements {
		if s, ok := st.(*ddl.Sink); ok {
			mode, _ := s.With.Get("mode")
			switch {
			case strings.EqualFold(mode, "debezium"):
				out[s.From.Key()] = keyedZSet
			case strings.EqualFold(mode, "changelog"):
				out[s.From.Key()] = max(plainZSet, out[s.From.Key()])
			}
		}
	}
	return out
}
