package postgrescdc

import (
	"time"

	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/microbatch"
)

const (
	// retainedBytes is how much of its log a server may keep for a slot before people are told.
	retainedBytes = 1 << 30
	// warnEvery is how often they are told.
	warnEvery = 10 * time.Minute
)

// retains takes over what the server keeps for the slot, and warns if it is a lot, or if little is left of what it may
// keep.
func (g *Capture) retains(s *slot) {
	now := time.Now()
	g.mu.Lock()
	g.slot = s
	warn := s.critical() && now.Sub(g.warnedAt) >= warnEvery
	if warn {
		g.warnedAt = now
	}
	g.mu.Unlock()
	if !warn {
		return
	}
	left := "unlimited"
	if s.left >= 0 {
		left = term.Bytes(s.left)
	}
	g.opt.Logger.Warn("the server keeps a lot of its log for this pipeline", "retained", term.Bytes(s.retained), "left", left, "wal_status", s.walStatus)
}

// critical says that somebody should know.
func (s *slot) critical() bool {
	return s.walStatus == "unreserved" || s.retained >= retainedBytes || s.left >= 0 && s.left < s.retained/2
}

// Retained implements microbatch.Retainer.
func (s *Source) Retained() (r microbatch.Retained, ok bool) {
	if s.g == nil {
		return r, false
	}
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	at := s.g.slot
	if at == nil {
		return r, false
	}
	return microbatch.Retained{By: "replication slot " + s.g.slotName, Bytes: at.retained, LeftBytes: at.left, State: at.walStatus}, true
}
