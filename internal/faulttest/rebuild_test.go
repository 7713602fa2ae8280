package faulttest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// rebuildPoints are those that a rebuild passes beside its batches, in order, and whether the tables are the new
// version's by then.
var rebuildPoints = []struct {
	point   string
	swapped bool
}{
	{"sink.stage.after_commit", false}, // in the middle of the backfill
	{"batch.after_prepare", false},
	{"sink.commit.before_commit", false},
	{"batch.after_done", false},
	{"change.rebuild.after_catch_up", false},
	{"change.rebuild.after_stop", false},
	{"change.rebuild.after_backfill", false},
	{"change.rebuild.after_ready", false},
	{"change.swap.before_commit", false},
	{"change.swap.after_commit", true},
	{"change.exchange.before", true},
	{"change.exchange.between_renames", true},
	{"change.exchange.after_renames", true},
	{"change.exchange.after_save", true},
	{"change.exchange.after_settle", true},
}

// compatiblePoints are those of TestCompatibleChangeCrashes.
var compatiblePoints = []string{"change.relabel.before", "change.relabel.after"}

// TestChangePointsAreReached: no failpoint of a changed file is forgotten in the lists here.
func TestChangePointsAreReached(t *testing.T) {
	for _, point := range failpoints(t) {
		listed := slices.Contains(compatiblePoints, point) || slices.ContainsFunc(rebuildPoints, func(p struct {
			point   string
			swapped bool
		}) bool {
			return p.point == point
		})
		if ofChanges(point) && !listed {
			t.Errorf("failpoint %s is in no list: reach it in TestRebuildCrashes, or delete it", point)
		}
	}
}

// columnsOf counts the columns of the view that the versions have in different ways.
func (p *pipeline) columnsOf(t testing.TB, table string) string {
	t.Helper()
	return pgtest.Rows(t, p.url, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'public."+table+"'::regclass AND attnum > 0 AND NOT attisdropped")[0]
}

// TestRebuildCrashes: a rebuild dies or fails at every step. Until the swap is committed the tables are the old
// version's, and the old file goes on; afterwards they are the new one's, and any start completes the rest.
// Both are proven, and the rebuild gets to its end; then the next rebuild goes the other way. Under SLUICE_SOAK each has
// a pipeline of its own.
func TestRebuildCrashes(t *testing.T) {
	links := 5
	if soaking() {
		links = 1
	}
	for points := range slices.Chunk(rebuildPoints, links) {
		for _, action := range []string{"exit", "error"} {
			if testing.Short() && action == "error" {
				continue
			}
			t.Run("from "+points[0].point+" "+action, func(t *testing.T) {
				t.Parallel()
				p := newEvents(t)
				b := rebuilt{p, viewThatGoes, viewThatMore, "2", "3"}
				p.changed(t, b.old)
				p.mustRun(t)
				p.changed(t, b.new)
				if r := p.run(t); r.code != 1 || !strings.Contains(r.stderr, "view spread, operator") {
					t.Fatalf("the changed file was not refused:\n%v", r)
				}
				for _, c := range points {
					b.dies(t, c.point, action, c.swapped)
					if t.Failed() {
						t.Fatalf("at %s", c.point)
					}
				}
				if !points[len(points)-1].swapped {
					b.completes(t)
				}
				p.replay(t)
			})
		}
	}
}

// A rebuilt pipeline has two versions, whose view spread has so many columns.
type rebuilt struct {
	*pipeline
	old, new               string
	oldColumns, newColumns string
}

// dies starts a rebuild that dies, and then the old file, and proves the tables.
func (b *rebuilt) dies(t *testing.T, point, action string, swapped bool) {
	t.Helper()
	before := pgtest.Rows(t, b.url, "SELECT count(*), sum(n) FROM per_window")[0]
	b.changed(t, b.new)
	b.rebuildFaulty(t, point, action)
	if got := pgtest.Rows(t, b.url, "SELECT count(*), sum(n) FROM per_window")[0]; got != before && !swapped { // late is decided anew
		t.Errorf("per_window has %s rows and n, and had %s", got, before)
	}
	if got, want := b.columnsOf(t, "spread"), map[bool]string{false: b.oldColumns, true: b.newColumns}[swapped]; got != want {
		t.Errorf("spread has %s columns, want %s", got, want)
	}
	// The old file: it goes on where the swap did not happen, and completes it and is refused where it did.
	b.changed(t, b.old)
	if r := b.run(t); swapped != (r.code != 0) || swapped && !strings.Contains(r.stderr, "view spread") {
		t.Errorf("the old version, swapped %t:\n%v", swapped, r)
	}
	b.verify(t)
	if swapped {
		b.completes(t)
		b.old, b.new, b.oldColumns, b.newColumns = b.new, b.old, b.newColumns, b.oldColumns
	}
}

// completes lets the rebuild get to its end.
func (b *rebuilt) completes(t *testing.T) {
	t.Helper()
	b.changed(t, b.new)
	if r := b.sluice(t, nil, "run", b.file(), "--until-end", "--rebuild"); r.code != 0 {
		t.Fatalf("the rebuild did not get to its end:\n%v", r)
	}
	b.verify(t)
	if got := b.columnsOf(t, "spread"); got != b.newColumns {
		t.Errorf("spread has %s columns after the rebuild", got)
	}
	if left := pgtest.Rows(t, b.url, "SELECT relname FROM pg_class WHERE relname LIKE 'new\\_%' UNION ALL SELECT pipeline FROM sluice.ledger WHERE pipeline LIKE '%~%' UNION ALL SELECT key FROM sluice.meta WHERE key LIKE 'rebuilt%'"); len(left) > 0 {
		t.Errorf("the rebuild left %v", left)
	}
}

func (p *pipeline) rebuildFaulty(t testing.TB, point, action string) {
	t.Helper()
	hit := ""
	if strings.HasPrefix(point, "batch.") || strings.HasPrefix(point, "sink.") {
		hit = ":3"
	}
	r := p.sluice(t, []string{"SLUICE_FAILPOINTS=" + point + "=" + action + hit}, "run", p.file(), "--until-end", "--rebuild")
	if tt, ok := t.(*testing.T); ok {
		p.checkDeath(tt, point, action, r)
	}
}

// TestReadersOfARebuild: whoever reads meanwhile sees the old tables or the new ones, with the ledger that they
// answer for.
func TestReadersOfARebuild(t *testing.T) {
	t.Parallel()
	p := newEvents(t)
	p.changed(t, viewThatGoes)
	p.mustRun(t)
	const look = `SELECT (SELECT count(*) || ' ' || sum(n) FROM per_window), (SELECT count(*) FROM spread), (SELECT plan FROM sluice.ledger WHERE pipeline = 'faults')`
	old := pgtest.Rows(t, p.url, look)[0]
	p.changed(t, viewThatMore)
	ctx, cancel := context.WithCancel(context.Background())
	seen := make(chan map[string]int)
	go func() {
		rows := map[string]int{}
		for ctx.Err() == nil {
			rows[pgtest.Rows(t, p.url, look)[0]]++
		}
		seen <- rows
	}()
	r := p.sluice(t, nil, "run", p.file(), "--until-end", "--rebuild")
	cancel()
	rows := <-seen
	if r.code != 0 {
		t.Fatal(r)
	}
	fresh := pgtest.Rows(t, p.url, look)[0]
	delete(rows, old)
	delete(rows, fresh)
	if len(rows) > 0 || old == fresh {
		t.Errorf("readers saw %v beside %q and %q", fmt.Sprint(rows), old, fresh)
	}
	p.verify(t)
}
