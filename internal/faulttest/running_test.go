package faulttest

import (
	"encoding/json"
	"testing"
	"time"
)

// TestVerifyWhileRunning: at whatever moment a reader looks, all tables are at the prefix that the ledger
// names. The reader is sluice verify, beside the engine.
func TestVerifyWhileRunning(t *testing.T) {
	t.Parallel()
	p := newEvents(t)
	p.crashed(t, "batch.after_done=exit:1") // so that there is something to verify
	c := p.start(t, "batch.after_prepare=sleep(500ms):9", "run", p.file(), "--until-end", "--max-batch-rows", "60")
	batches := map[int64]bool{}
	for c.livesFor(t, 10*time.Millisecond) {
		r := p.sluice(t, nil, "verify", p.name, "--json")
		var report struct {
			OK    bool  `json:"ok"`
			Batch int64 `json:"batch"`
		}
		if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || r.code != 0 || !report.OK {
			t.Fatalf("%v\n%v", err, r)
		}
		batches[report.Batch] = true
	}
	if r := c.wait(t); r.code != 0 {
		t.Fatal(r)
	}
	if len(batches) < 3 {
		t.Errorf("verified at batches %v only", batches)
	}
	t.Logf("verified at %d different batches", len(batches))
	p.verify(t)
	p.sameTables(t)
}
