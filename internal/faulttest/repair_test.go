package faulttest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// TestRepairCrash kills sluice log repair at each of its failpoints, and where it replaces the manifest. The
// same repair again gets to the end, and the pipeline to the tables of an undisturbed run, after PostgreSQL
// was taken back to where the log then ends.
func TestRepairCrash(t *testing.T) {
	for _, point := range failpoints(t) {
		if !strings.HasPrefix(point, "log.repair.") && !strings.HasPrefix(point, "manifest.") {
			continue
		}
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			p := newEvents(t)
			p.crashed(t, "batch.after_done=exit:3")
			p.damageFirstSegment(t)
			for _, table := range append(pgtest.Rows(t, p.url, "SELECT format('%I.%I', schema_name, table_name) FROM sluice.targets"),
				"sluice.ledger", "sluice.batches", "sluice.dead_letter", "sluice.staged", "sluice.batch_time") {
				pgtest.Exec(t, p.url, "DELETE FROM "+table)
			}
			for _, dir := range []string{"files", "changes"} {
				if err := os.RemoveAll(filepath.Join(p.dir, dir)); err != nil {
					t.Fatal(err)
				}
			}
			trace := filepath.Join(p.dir, "repair-trace")
			r := p.sluice(t, []string{"SLUICE_FAILPOINTS=" + point + "=exit", "SLUICE_FAILPOINT_TRACE=" + trace}, "log", "repair", p.name, "--force-from", "1")
			if text, err := os.ReadFile(trace); err != nil || !r.killed || strings.TrimSpace(string(text)) != point {
				t.Fatalf("%s did not kill the repair: %q %v\n%v", point, text, err, r)
			}
			if r := p.sluice(t, nil, "log", "repair", p.name, "--force-from", "1"); r.code != 0 {
				t.Fatalf("the same repair again:\n%v", r)
			}
			p.finish(t)
		})
	}
}

// damageFirstSegment flips a bit near the end of the log's first segment.
func (p *pipeline) damageFirstSegment(t *testing.T) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(p.logDir(), "*.log"))
	if err != nil || len(segments) < 2 {
		t.Fatal(fmt.Sprint("want some segments: ", segments, err))
	}
	text, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)-150] ^= 1 // its header is long
	if err := os.WriteFile(segments[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
}
