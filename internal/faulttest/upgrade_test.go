package faulttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vfs"
)

// What a version of sluice leaves is kept in testdata/upgrade-v<version of the log's format>, once for each version that
// was released, by
//
//	SLUICE_BINARY=/path/to/that/sluice go test ./internal/faulttest -run TestUpgrade -write-upgrade
//
// with pg_dump in the PATH; without SLUICE_BINARY it is of the present version. A directory that is there is not
// written over: it is to be what was released. A change of the planner after which a kept pipeline needs a rebuild fails
// here; if it has to be, that is where it must be decided, and written into the CHANGELOG.
var writeUpgrade = flag.Bool("write-upgrade", false, "write testdata/upgrade-v<version> as the tested binary leaves it")

// upgradeKill ends the engine between Prepared and the commit, so that the next one, of another version, settles the batch.
const upgradeKill = "batch.after_prepare=exit:14"

const upgradeSQL = `SET max_batch_rows = 40;
SET snapshot_log_bytes = '1KiB';
SET log_segment_bytes = '12KiB';

CREATE SOURCE event (
  id BIGINT, t TIMESTAMP, kind VARCHAR, amount BIGINT, price DECIMAL(12,2),
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
) WITH (connector = 'file', path = 'events.ndjson', identity = 'content');

CREATE MATERIALIZED VIEW per_window AS
SELECT window_start, kind, count(*) AS n, sum(amount) AS amount, max(price) AS top
FROM tumble(event, t, INTERVAL '10 seconds') GROUP BY window_start, kind;

CREATE MATERIALIZED VIEW total AS
SELECT count(*) AS n, count(DISTINCT id) AS ids, sum(price) AS price, max(t) AS last_at FROM event;

CREATE MATERIALIZED VIEW first_of AS
SELECT * FROM (SELECT kind, id, amount FROM event) QUALIFY row_number() OVER (PARTITION BY kind ORDER BY amount, id) = 1;

CREATE MATERIALIZED VIEW dear AS
SELECT e.id, e.price, f.amount FROM event e JOIN first_of f ON e.kind = f.kind WHERE e.price > 300;

CREATE MATERIALIZED VIEW sums AS SELECT kind, sum(amount) AS amount FROM event GROUP BY kind;
CREATE SINK changes FROM sums WITH (connector = 'file', path = 'changes', format = 'csv', mode = 'changelog');
`

// upgradeEvents are enough for seventeen batches.
func upgradeEvents() []byte {
	lines := bytes.SplitAfter(events(), []byte("\n"))
	return bytes.Join(lines[:700], nil)
}

func newUpgrade(t testing.TB) *pipeline {
	return newPipeline(t, pgtest.URL(t), upgradeSQL, map[string][]byte{"events.ndjson": upgradeEvents()})
}

// TestUpgrade starts this version on what each released version left in the middle of a batch: its log and snapshots,
// its schema in PostgreSQL, its files. It settles the batch, goes on to the end, and all is as if it had run alone.
func TestUpgrade(t *testing.T) {
	if *writeUpgrade {
		writeUpgradeFixture(t)
		return
	}
	alone := newUpgrade(t)
	alone.mustRun(t)
	want := alone.contents(t)
	for version := 1; version <= checkpointlog.FormatVersion; version++ {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			t.Parallel()
			p := leftBy(t, version)
			if r := p.sluice(t, nil, "log", "verify", p.name); r.code != 0 {
				t.Errorf("the old log does not read:\n%v", r)
			}
			// The first start of the new version dies, too, where it begins a segment of its own.
			r := p.sluice(t, []string{"SLUICE_FAILPOINTS=log.segment.rotate.after_manifest=exit"}, "run", p.file(), "--until-end", "--log-level", "info")
			// Why not roll forward: a database that was dumped and restored has other staging tables. So the old record's
			// ranges are read again, and what comes out must have its digests.
			if !r.killed || !strings.Contains(r.stderr, "decision=re-execute") {
				t.Fatalf("it was to execute the batch in flight again, and to die at its first segment:\n%v", r)
			}
			p.mustBeAt(t, 14)
			r = p.mustRun(t)
			if !strings.Contains(r.stderr, "goes on after batch 14,") {
				t.Errorf("it did not go on from the old log:\n%v", r)
			}
			p.verify(t)
			p.replay(t)
			p.mustEqual(t, want)
			if got := p.formatVersion(t); got != checkpointlog.FormatVersion {
				t.Errorf("the log's newest segment has format %d", got)
			}
			p.mustRun(t)
		})
	}
}

// mustBeAt checks the ledger.
func (p *pipeline) mustBeAt(t testing.TB, batch int64) {
	t.Helper()
	if got := strings.Join(pgtest.Rows(t, p.url, "SELECT batch FROM sluice.ledger"), ","); got != fmt.Sprint(batch) {
		t.Errorf("the ledger is at batch %s, want %d", got, batch)
	}
}

func (p *pipeline) formatVersion(t testing.TB) int {
	t.Helper()
	rec, err := checkpointlog.History(p.logDir(), vfs.OS{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return rec.Header.FormatVersion
}

// leftBy puts in place what a version left.
func leftBy(t *testing.T, version int) *pipeline {
	t.Helper()
	dir := filepath.Join("testdata", fmt.Sprintf("upgrade-v%d", version))
	p := newPipeline(t, pgtest.URL(t), "", nil)
	p.dir = filepath.Join(p.dir, "moved")
	for from, to := range map[string]string{"input": p.dir, "log": p.logDir()} {
		if err := os.CopyFS(to, os.DirFS(filepath.Join(dir, from))); err != nil {
			t.Fatal(err)
		}
	}
	dump, err := os.ReadFile(filepath.Join(dir, "database.sql"))
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, p.url, string(dump))
	p.mustBeAt(t, 13)
	if got := p.formatVersion(t); got != version {
		t.Fatalf("the stored log has format %d", got)
	}
	return p
}

func writeUpgradeFixture(t *testing.T) {
	p := newUpgrade(t)
	if names, r := p.faulty(t, upgradeKill); !r.killed {
		t.Fatalf("fired %v:\n%v", names, r)
	}
	p.mustBeAt(t, 13)
	p.mustHaveSnapshots(t)
	if len(pgtest.Rows(t, p.url, "SELECT relname FROM pg_class WHERE oid = to_regclass('sluice.lease')")) > 0 {
		pgtest.Exec(t, p.url, "UPDATE sluice.lease SET owner = 'host:1:0123abcd', directory = '/state/pipelines/faults#0123abcd'")
	}
	dir := filepath.Join("testdata", fmt.Sprintf("upgrade-v%d", p.formatVersion(t)))
	if err := errors.Join(os.MkdirAll(filepath.Dir(dir), 0o755), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{p.dir: "input", p.logDir(): "log"} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	leave := func(name string, err error) {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	leave("LOCK", os.Remove(filepath.Join(dir, "log", "LOCK")))
	leave("trace", os.Remove(filepath.Join(dir, "input", "trace")))
	leave("database.sql", os.WriteFile(filepath.Join(dir, "database.sql"), dump(t, p.url), 0o644))
	leave("machine", filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(text, []byte(filepath.Dir(p.dir))) {
			err = fmt.Errorf("%s names the directory that it was written in", path)
		}
		return err
	}))
}

// mustHaveSnapshots checks that the log is worth keeping: it was truncated, and has every kind of file.
func (p *pipeline) mustHaveSnapshots(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.logDir(), "MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(text, []byte("\n"))
	var m struct {
		Segments  []struct{ Seq int64 }
		Snapshots []struct{ Batch, Base int64 }
	}
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	deltas := 0
	for _, s := range m.Snapshots {
		if s.Base > 0 {
			deltas++
		}
	}
	if len(m.Segments) < 2 || len(m.Snapshots) < 2 || p.formatVersion(t) > 1 && deltas == 0 {
		t.Fatalf("the log has too little to be worth keeping: %s", body)
	}
	t.Logf("%s", body)
}

// notPortable are lines of pg_dump's output that another version, or another client, does not take.
var notPortable = regexp.MustCompile(`(?m)^(--.*|\\.*|SET .*|SELECT pg_catalog\.set_config.*)?\n`)

// dump writes down a database as statements.
func dump(t testing.TB, url string) []byte {
	t.Helper()
	out, err := exec.Command("pg_dump", "--no-owner", "--no-privileges", "--rows-per-insert=1000", url).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	return notPortable.ReplaceAll(out, nil)
}
