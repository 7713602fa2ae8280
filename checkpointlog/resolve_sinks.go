package checkpointlog

import "fmt"

// SinkFacts are what one of a pipeline's sinks says. Every sink has a ledger of its own and commits on its
// own, so a crash can find a batch committed in some and not in others.
type SinkFacts struct {
	// Name tells the sink in messages; it may be empty for the only one.
	Name   string
	Ledger LedgerFacts
	Staged bool // as Facts.Staged
}

// ResolveSinks is Resolve for any number of sinks, at least one. Each is resolved alone, and what must be
// done for any is done:
//
//	any refuses                 refuse, with the first one's reason
//	any must be executed again  re-execute; those that have the batch, committed or staged, are asked again
//	any must be committed       roll forward
//	all have the batch          resume
//
// The caller stages and commits only where the ledger is still before Decision.Batch. Why that is right:
// the batch is prepared, so it is the same batch for all of them, and each sink's own ledger keeps it from
// being applied twice.
func ResolveSinks(plan string, log LogFacts, sinks []SinkFacts) (Decision, error) {
	if len(sinks) == 0 {
		return Decision{}, fmt.Errorf("resolving restart: there is no sink")
	}
	var out Decision
	for i, s := range sinks {
		d, err := Resolve(Facts{Plan: plan, Log: log, Ledger: s.Ledger, Staged: s.Staged})
		if err != nil {
			return Decision{}, err
		}
		if d.Action == Refuse {
			if s.Name != "" {
				d.Detail = s.Name + ": " + d.Detail
			}
			return d, nil
		}
		if i == 0 || urgency(d.Action) > urgency(out.Action) {
			out = d
		}
	}
	return out, nil
}

// urgency orders the actions by how much they do; one that does more also does what the lesser ones want.
func urgency(a Action) int {
	switch a {
	case RollForward:
		return 1
	case Reexecute:
		return 2
	}
	return 0 // Start and Resume: with one log it is the same for all sinks
}
