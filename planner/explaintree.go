package planner

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/textwidth"
)

// WriteExplain prints the plans of all views as aligned trees, the state tables, and the SQL of every step.
func WriteExplain(w io.Writer, p *Pipeline) error {
	var b strings.Builder
	for i, v := range p.Views {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "view %s\n", v.Name)
		if v.Fallback != "" {
			fmt.Fprintf(&b, "  recomputed in full every batch: %s\n", v.Fallback)
		}
		if v.Loses != "" {
			fmt.Fprintf(&b, "  NOT what its query says, by state_ttl: %s\n", v.Loses)
		}
		t := &treeText{program: p.Program}
		t.operator(v.Explain, "  ", "  ")
		t.write(&b)
	}
	if len(p.Program.States) > 0 {
		b.WriteString("\nstate\n")
	}
	for _, s := range p.Program.States {
		s.write(&b, p.Program)
	}
	b.WriteString("\nsteps of a batch\n")
	for i, s := range p.Program.Steps {
		fmt.Fprintf(&b, "  %2d %s %s\n     %s\n", i, s.Kind, s.Target, s.SQL)
	}
	fmt.Fprintf(&b, "\nfingerprint %s\n", p.Program.Fingerprint)
	_, err := io.WriteString(w, b.String())
	return err
}

// treeText is a view's tree on its way to text.
type treeText struct {
	program *Program
	lines   []treeLine
}

// treeLine is an operator, in columns, or a line about one, which is not aligned.
type treeLine struct {
	text  string
	cells []string
}

// operator adds an operator and what is below it. The first line begins with lead, the others with rest.
func (t *treeText) operator(ex *Explain, lead, rest string) {
	last := ""
	if len(ex.Key) > 0 {
		last = "key " + strings.Join(ex.Key, ", ")
	}
	t.lines = append(t.lines, treeLine{lead + ex.Op, []string{ex.Class, ex.Mode, last}})
	about := rest + "  "
	if len(ex.Children) > 0 {
		about = rest + "│ "
	}
	for _, line := range ex.about(t.program) {
		t.lines = append(t.lines, treeLine{text: about + line})
	}
	for i, ch := range ex.Children {
		if i < len(ex.Children)-1 {
			t.operator(ch, rest+"├─ ", rest+"│  ")
		} else {
			t.operator(ch, rest+"└─ ", rest+"   ")
		}
	}
}

// about are the lines below an operator's first.
func (ex *Explain) about(p *Program) []string {
	var out []string
	if ex.Detail != "" {
		out = append(out, ex.Detail)
	}
	if ex.Shared != "" {
		out = append(out, "shared with view "+ex.Shared)
	}
	for _, name := range ex.States {
		out = append(out, "state "+name+": "+p.stateText(name))
	}
	if ex.Watermark != "" {
		out = append(out, "later rows have "+ex.Watermark)
	}
	for _, scan := range ex.Scans {
		out = append(out, "! "+scan)
	}
	if len(ex.Steps) > 0 {
		out = append(out, "steps "+ranges(ex.Steps))
	}
	return out
}

// stateText says how a state is read and what bounds it.
func (p *Program) stateText(name string) string {
	for _, s := range p.States {
		if s.Name != name {
			continue
		}
		text := s.Bound
		if access := p.Access(s); access != "" {
			text = access + "; " + text
		}
		return text
	}
	return ""
}

// ranges writes 3 4 5 7 as 3-5, 7.
func ranges(steps []int) string {
	var out []string
	for i := 0; i < len(steps); {
		j := i
		for j+1 < len(steps) && steps[j+1] == steps[j]+1 {
			j++
		}
		text := itoa(steps[i])
		if j > i {
			text += "-" + itoa(steps[j])
		}
		out = append(out, text)
		i = j + 1
	}
	return strings.Join(out, ", ")
}

// write aligns the operators' columns.
func (t *treeText) write(b *strings.Builder) {
	widths := make([]int, 3)
	for _, l := range t.lines {
		if l.cells == nil {
			continue
		}
		for i, cell := range append([]string{l.text}, l.cells[:2]...) {
			widths[i] = max(widths[i], textwidth.String(cell))
		}
	}
	for _, l := range t.lines {
		line := l.text
		if l.cells != nil {
			line = textwidth.Pad(l.text, widths[0]) + "  " + textwidth.Pad(l.cells[0], widths[1]) + "  " + textwidth.Pad(l.cells[1], widths[2]) + "  " + l.cells[2]
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

func (s State) write(b *strings.Builder, p *Program) {
	var cols []string
	for i, f := range s.Cols {
		text := f.Name + " " + f.Type.String()
		if i < s.NKey {
			text += " key"
		}
		cols = append(cols, text)
	}
	fmt.Fprintf(b, "  %s (%s)\n     %s", s.Name, strings.Join(cols, ", "), p.stateText(s.Name))
	if evicted := s.Evicted(); evicted != "" {
		b.WriteString(": " + evicted)
	}
	if s.Never != "" {
		fmt.Fprintf(b, "; never evicted: %s", s.Never)
	}
	b.WriteString("\n")
}

// scans are the states of an operator that grow and that a batch reads whole.
func (p *Program) scans(states []string) []string {
	var out []string
	for _, s := range p.States {
		if !slices.Contains(states, s.Name) || s.limited() {
			continue
		}
		switch access := p.Access(s); {
		case strings.Contains(access, fullScan):
			out = append(out, "every batch reads all of "+s.Name)
		case s.OneKey && strings.Contains(access, prefixLookup):
			out = append(out, "scans "+s.Name+": there is no key to look up by, and every batch that needs it reads all of it")
		}
	}
	return out
}

// limited says that a state does not grow with the input.
func (s State) limited() bool { return strings.HasPrefix(s.Bound, "at most ") || s.Bound == oneRow }
