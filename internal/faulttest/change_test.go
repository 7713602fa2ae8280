package faulttest

import (
	"fmt"
	"strings"
	"testing"
)

// changedSQL is the pipeline over the events' file; the placeholder is what differs between its versions.
const changedSQL = `
SET max_batch_rows = 150;
SET snapshot_log_bytes = '4KiB';
SET log_segment_bytes = '6KiB';

CREATE SOURCE event (
  id BIGINT, t TIMESTAMP, kind VARCHAR, amount BIGINT, price DECIMAL(12,2),
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
) WITH (connector = 'file', path = 'events.ndjson');
%s
CREATE MATERIALIZED VIEW per_window AS
SELECT window_start, kind, count(*) AS n, sum(amount) AS amount FROM tumble(event, t, INTERVAL '10 seconds') GROUP BY window_start, kind;

CREATE MATERIALIZED VIEW keyless AS
SELECT amount // 100 AS hundreds FROM (SELECT kind, sum(amount) AS amount FROM event GROUP BY kind);
`

const (
	viewThatGoes = "CREATE MATERIALIZED VIEW spread AS SELECT kind, median(amount) AS median FROM event GROUP BY kind;"
	viewThatMore = "CREATE MATERIALIZED VIEW spread AS SELECT kind, median(price) AS median, count(*) AS n FROM event GROUP BY kind;"
)

// ofChanges says that a point is passed only by a file that changed; TestCompatibleChangeCrashes and
// TestRebuildCrashes reach it.
func ofChanges(point string) bool { return strings.HasPrefix(point, "change.") }

// changed replaces the pipeline's file by another version.
func (p *pipeline) changed(t testing.TB, part string) {
	t.Helper()
	p.write(t, p.name+".sql", fmt.Appendf(nil, changedSQL, part))
}

// TestCompatibleChangeCrashes: a batch is in flight when the engine dies, the file loses a view, and the start that
// goes on with it dies, too. The version before settles its batch, and the new one goes on. Points are killed with staged
// rows and fail without them, or the other way round, in turns; under SLUICE_SOAK all of it.
func TestCompatibleChangeCrashes(t *testing.T) {
	for i, point := range []string{"change.relabel.before", "change.relabel.after", "log.segment.rotate.before_manifest", "sink.open.after_epoch", "sink.commit.before_commit"} {
		for j, lost := range []string{"staged", "staging lost"} {
			for k, action := range []string{"exit", "error"} {
				if (i+j+k)%2 > 0 && !soaking() {
					continue
				}
				t.Run(lost+" "+point+" "+action, func(t *testing.T) {
					t.Parallel()
					p := newEvents(t)
					p.changed(t, viewThatGoes)
					if names, r := p.faulty(t, "batch.after_prepare=exit:4"); !r.killed {
						t.Fatalf("fired %v:\n%v", names, r)
					}
					if lost != "staged" {
						p.loseStaging(t)
					}
					p.changed(t, "")
					names, r := p.faulty(t, point+"="+action)
					if len(names) == 0 {
						t.Fatalf("%s did not fire:\n%v", point, r)
					}
					p.checkDeath(t, point, action, r)
					p.mustRun(t)
					p.verify(t)
					p.replay(t)
				})
			}
		}
	}
}
