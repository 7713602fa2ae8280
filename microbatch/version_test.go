package microbatch

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/change"
)

// A log that an older sluice wrote has no fingerprints of operators: an equal plan goes on, and another is told
// that it has to be rebuilt; a log of a newer one is refused by name.
func TestLogsOfOtherSluices(t *testing.T) {
	t.Parallel()
	version := &change.Version{Format: change.Format}
	cfg := &Config{Name: "p", Plan: &planner.Pipeline{Program: &planner.Program{Fingerprint: "now"}}, Version: version}
	for _, c := range []struct {
		name   string
		header checkpointlog.Header
		last   int64
		plan   string // what Resolve is told
		says   string
	}{
		{"older, equal plan", checkpointlog.Header{Plan: "now"}, 3, "now", ""},
		{"older, another plan", checkpointlog.Header{Plan: "then"}, 3, "", "kept no fingerprints of operators"},
		{"older, another plan, no batch", checkpointlog.Header{Plan: "then"}, 0, "now", ""},
		{"the same", checkpointlog.Header{Plan: "now", Operators: version.Encode()}, 3, "now", ""},
		{"same operators, made by other means", checkpointlog.Header{Plan: "then", Operators: version.Encode()}, 3, "then", ""},
		{"newer", checkpointlog.Header{Plan: "now", Operators: []byte(`{"format": 99}`)}, 3, "", "format 99"},
	} {
		a, err := cfg.adopt(c.header, c.last)
		switch {
		case c.says != "":
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", c.name, err, c.says)
			}
		case err != nil || a.plan != c.plan:
			t.Errorf("%s: plan %q, %v", c.name, a.plan, err)
		case a.changed != (c.header.Plan == "then" && c.last > 0):
			t.Errorf("%s: changed is %t", c.name, a.changed)
		}
		var refused *RefusedError
		if c.plan == "" && c.name != "newer" && (!errors.As(err, &refused) || refused.Reason != checkpointlog.ReasonPlanChanged) {
			t.Errorf("%s: %v is no refusal", c.name, err)
		}
	}
}
