package microbatch

// Retainer is a Source whose server keeps what was not acknowledged, and fills its disk with it.
type Retainer interface {
	// Retained says how much; ok is false while that is not known. It is called beside Poll.
	Retained() (r Retained, ok bool)
}

// Retained is what a source's server keeps for it.
type Retained struct {
	// By names what keeps it; sources may share one.
	By    string `json:"by"`
	Bytes int64  `json:"bytes"`
	// LeftBytes is how much more may come before the server gives it up, -1 without a limit.
	LeftBytes int64 `json:"left_bytes"`
	// State is the server's own word for how that stands.
	State string `json:"state,omitempty"`
}

// retained asks the sources what is kept for them.
func (p *Pipeline) retained() (out []Retained) {
	seen := map[string]bool{}
	for _, in := range p.inputs {
		s, ok := in.source.(Retainer)
		if !ok {
			continue
		}
		if r, ok := s.Retained(); ok && !seen[r.By] {
			seen[r.By] = true
			out = append(out, r)
		}
	}
	return out
}
