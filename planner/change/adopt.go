package change

import (
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/planner"
)

// Adopt makes a program use the states of a log: they are matched by fingerprint, and take the names that the
// log's records have. It returns the program and its version under those names, or false if a state that the
// program needs is not there.
//
// Why the log's names and not the program's: names hold counters, so that a view in front of another shifts
// them. A log in which a name always means one state can be read from any snapshot on without knowing
// how often the file was changed.
func Adopt(p *planner.Program, now, logged *Version, since int64) (*planner.Program, *Version, bool) {
	logged = logged.placedAs(now)
	rename, ok := match(now, logged)
	if !ok {
		return nil, nil, false
	}
	out := *p
	out.States = slices.Clone(p.States)
	for i := range out.States {
		out.States[i].Name = rename[out.States[i].Name]
	}
	out.Steps = slices.Clone(p.Steps)
	for i := range out.Steps {
		s := &out.Steps[i]
		s.SQL = renamed(s.SQL, rename)
		if s.Kind == planner.Apply {
			s.Target = rename[s.Target]
		}
	}
	out.Setup = slices.Clone(p.Setup)
	for i := range out.Setup {
		out.Setup[i] = renamed(out.Setup[i], rename)
	}
	v := *now
	v.States = slices.Clone(now.States)
	kept := map[string]bool{}
	for i := range v.States {
		v.States[i].Name = rename[v.States[i].Name]
		kept[v.States[i].Name] = true
	}
	v.Since, v.Dropped = logged.Since, slices.Clone(logged.Dropped)
	for _, s := range logged.States {
		if !kept[s.Name] {
			v.Dropped = append(v.Dropped, s.Name)
		}
	}
	if !v.equal(logged) {
		v.Since = since
	}
	return &out, &v, true
}

// match pairs states of two versions by fingerprint. A state without a pair is one of sources that were not
// read before, and gets a name that the log has never used.
func match(now, logged *Version) (map[string]string, bool) {
	rename, taken := map[string]string{}, map[string]bool{}
	for _, s := range now.States {
		i := slices.IndexFunc(logged.States, func(o State) bool { return o.Fingerprint == s.Fingerprint && !taken[o.Name] })
		if i >= 0 {
			rename[s.Name] = logged.States[i].Name
			taken[logged.States[i].Name] = true
		} else if !logged.unread(s.Sources) {
			return nil, false
		}
	}
	used := func(name string) bool {
		return taken[name] || slices.Contains(logged.Dropped, name) || slices.ContainsFunc(logged.States, func(s State) bool { return s.Name == name })
	}
	for _, s := range now.States {
		if rename[s.Name] != "" {
			continue
		}
		name := s.Name
		for used(name) {
			name += "_"
		}
		rename[s.Name], taken[name] = name, true
	}
	return rename, true
}

// unread says that nothing of these sources was read by the version.
func (v *Version) unread(sources []string) bool {
	return len(sources) > 0 && !slices.ContainsFunc(v.Sources, func(s Source) bool { return slices.Contains(sources, s.Name) })
}

// equal compares what two versions compute, not their histories.
func (v *Version) equal(o *Version) bool {
	a, b := *v, *o
	a.Since, a.Dropped, b.Since, b.Dropped = 0, nil, 0, nil
	return string(a.Encode()) == string(b.Encode())
}

// renamed replaces the names of states in a statement, all at once.
func renamed(sql string, rename map[string]string) string {
	var b strings.Builder
	end := 0
	for t := range tokens(sql) {
		if base, call := stateOf(t.name); call != "" && rename[base] != "" {
			b.WriteString(sql[end:t.start] + rename[base] + call)
			end = t.end
		}
	}
	return b.String() + sql[end:]
}
