package planner

import "fmt"

// sharing lets the views of a pipeline, and the places of one view, share equal sub-plans: the first to
// need one compiles it, and its states are kept and its steps run once a batch.
//
// Invariant: compiling a node reads nothing of the view but its name, which new names begin with.
type sharing struct {
	ids   *identities
	made  map[string]*made
	loses map[string]string // relation.loses, by identity
	order []string          // the keys of made, so that those of a view that falls back can be taken back
}

// made is a compiled sub-plan.
type made struct {
	r    *relation
	view string
	// stateful says that compiling it made steps: that there is more to share than text.
	stateful bool
	// explain describes it where it was first met.
	explain *Explain
}

func newSharing() *sharing {
	return &sharing{ids: newIdentities(), made: map[string]*made{}, loses: map[string]string{}}
}

func (s *sharing) key(n node, want demand) string { return s.ids.id(n) + fmt.Sprintf("%+v", want) }

// keep remembers what a node was compiled to, if there is more to share than text.
//
// Why it can be read at any later step: its text reads temp tables that no other step makes again, the
// batch's input, and states that only the steps of its own rule write, which are all behind it.
func (s *sharing) keep(key string, m *made) {
	if !m.stateful {
		return
	}
	s.order = append(s.order, key)
	s.made[key] = m
}

// forget takes back all but the first n.
func (s *sharing) forget(n int) {
	for _, key := range s.order[n:] {
		delete(s.made, key)
	}
	s.order = s.order[:n]
}
