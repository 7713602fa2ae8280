package checkpointlog

import (
	"strings"
	"testing"
)

// explored is what a breadth-first walk through all states of a model found.
type explored struct {
	states  int
	refused bool
	// problem is the first promise broken, empty if none; trace the shortest way to it.
	problem string
	trace   []string
}

// explore visits every state that is reachable, nearest first, until a promise is broken.
func (m *model) explore() (out explored) {
	type node struct {
		state  protocolState
		parent int32
		what   string
	}
	m.resolved = map[resolveKey]Decision{}
	first := protocolState{via: -1}
	nodes := []node{{state: first, parent: -1}}
	seen := map[protocolState]struct{}{first: {}}
	for at := 0; at < len(nodes); at++ {
		for _, mv := range m.moves(nodes[at].state) {
			problem := mv.bad
			if problem == "" {
				problem = mv.next.broken()
			}
			if problem != "" {
				out.problem, out.trace = problem, []string{mv.what}
				for i := int32(at); i > 0; i = nodes[i].parent {
					out.trace = append(out.trace, nodes[i].what)
				}
				out.states = len(nodes)
				return out
			}
			out.refused = out.refused || strings.Contains(mv.what, "is refused")
			if _, ok := seen[mv.next]; !ok {
				seen[mv.next] = struct{}{}
				nodes = append(nodes, node{mv.next, int32(at), mv.what})
			}
		}
	}
	out.states = len(nodes)
	return out
}

// told is the trace as a person reads it.
func (e explored) told() string {
	var b strings.Builder
	for i := len(e.trace) - 1; i >= 0; i-- {
		b.WriteString("\n  " + e.trace[i])
	}
	return b.String()
}

// TestProtocolModel: whatever two engines and their server do, within the bounds, the applied batches form a prefix of the
// input with each row once; an engine that was taken over commits nothing; and the newest log is never refused.
func TestProtocolModel(t *testing.T) {
	for name, m := range map[string]*model{
		"three batches, a copied log":                {batches: 3, maxStarts: 3, maxCopies: 1},
		"a restored database":                        {batches: 2, maxStarts: 3, backups: true},
		"one batch, many starts, a log copied twice": {batches: 1, maxStarts: 4, maxCopies: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := m.explore()
			t.Logf("%d states", e.states)
			if e.problem != "" {
				t.Errorf("%s:%s", e.problem, e.told())
			}
			if e.states < 10_000 || !e.refused {
				t.Error("the walk saw too little")
			}
		})
	}
}

// TestProtocolModelNotices: the model is worth something only if it finds the fault in a protocol that has one.
func TestProtocolModelNotices(t *testing.T) {
	for _, tc := range []struct {
		name     string
		mutation mutation
		problem  string
	}{
		{"commit before prepared", mutation{commitBeforePrepared: true}, "the newest log is refused"},
		{"commit before prepared is durable", mutation{skipSync: true}, "the newest log is refused"},
		{"no look at the epoch", mutation{skipEpochCheck: true}, "an engine that was taken over committed"},
		{"the epoch is not raised", mutation{skipRaise: true}, "the newest log is refused"},
		{"the ledger's row is not locked", mutation{skipRowLock: true}, "an engine that was taken over committed"},
		{"an ambiguous commit is repeated blindly", mutation{skipLedgerInCommit: true}, "batch 2 begins at row 0"},
		{"no look at the batch before", mutation{skipHeadCheck: true}, "begins at row"},
		{"lost staging is ignored", mutation{ignoreLostStaging: true}, "0 were applied"},
		{"no content hash in the ledger", mutation{forgetContent: true}, "begins at row"},
		{"other rows when executed again", mutation{replan: true}, "the newest log is refused"},
		{"tables and ledger apart", mutation{ledgerApart: true}, "1 were applied"},
		{"commits answered before they are durable", mutation{answerBeforeDurable: true}, "the newest log is refused"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := model{batches: 2, maxStarts: 3, maxCopies: 1, mutation: tc.mutation}
			if m.skipHeadCheck {
				m.maxCopies, m.backups = 0, true
			}
			e := m.explore()
			if !strings.Contains(e.problem, tc.problem) {
				t.Errorf("after %d states the problem is %q, want one with %q%s", e.states, e.problem, tc.problem, e.told())
			}
			t.Logf("%d states: %s%s", e.states, e.problem, e.told())
		})
	}
}
