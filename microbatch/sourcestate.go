package microbatch

// Stater is a Source that can say what reading waits for, such as a broker that does not answer; "" when all is
// well. It is called beside Poll.
type Stater interface {
	State() string
}

// SourceState is what a source waits for.
type SourceState struct {
	Source string `json:"source"`
	State  string `json:"state"`
}

// sourceStates are the sources that wait for something.
func (p *Pipeline) sourceStates() (out []SourceState) {
	for _, in := range p.inputs {
		if s, ok := in.source.(Stater); ok {
			if state := s.State(); state != "" {
				out = append(out, SourceState{in.decl.Name, state})
			}
		}
	}
	return out
}

// tellStates logs when a source begins to wait for something, and when it no longer does.
func (p *Pipeline) tellStates() {
	for _, in := range p.inputs {
		s, ok := in.source.(Stater)
		if !ok {
			continue
		}
		switch state := s.State(); {
		case state == "" && in.state != "":
			p.cfg.Logger.Info("the source is read again", "pipeline", p.cfg.Name, "source", in.decl.Name)
			in.state = ""
		case state != "" && in.state == "":
			p.cfg.Logger.Warn("the source waits, and is tried again", "pipeline", p.cfg.Name, "source", in.decl.Name, "why", state)
			in.state = state
		}
	}
}
