package faulttest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// timesSQL has two views that agree in every version, and whose rows tell which: each counts every row so many times.
const timesSQL = `
SET trigger_interval = '50ms';
CREATE SOURCE bid (auction BIGINT, bidder BIGINT, price BIGINT, date_time TIMESTAMP) WITH (connector = 'nexmark', rate = '500', events = '1000000');
CREATE MATERIALIZED VIEW by_auction AS SELECT auction, %[1]d * count(*) AS n FROM bid GROUP BY auction;
CREATE MATERIALIZED VIEW total AS SELECT %[1]d * count(*) AS n, %[1]d AS times FROM bid;
`

// newTimes makes a pipeline for a daemon.
func newTimes(t *testing.T) *pipeline {
	t.Helper()
	p := newPipeline(t, pgtest.URL(t), fmt.Sprintf(timesSQL, 1), nil)
	root, err := os.MkdirTemp("", "times") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	p.state = filepath.Join(root, "s")
	return p
}

func (p *pipeline) times(t *testing.T, n int) {
	t.Helper()
	p.write(t, p.name+".sql", fmt.Appendf(nil, timesSQL, n))
}

// shows waits until the tables are of a version, and move.
func (p *pipeline) shows(t *testing.T, times int) {
	t.Helper()
	p.awaitState(t, "running")
	if got := pgtest.Rows(t, p.url, "SELECT times FROM total")[0]; got != fmt.Sprint(times) {
		t.Fatalf("the tables are of version %s, want %d\n%v", got, times, p.sluice(t, nil, "status", p.name))
	}
	batch := func() string {
		return pgtest.Rows(t, p.url, "SELECT batch FROM sluice.ledger WHERE pipeline = 'faults'")[0]
	}
	before := batch()
	eventually(t, "a batch is committed", func() bool { return batch() != before })
}

// mustLeaveNothing looks for what a rebuild makes.
func (p *pipeline) mustLeaveNothing(t *testing.T) {
	t.Helper()
	left := pgtest.Rows(t, p.url, `SELECT relname FROM pg_class WHERE relname LIKE 'new\_%' UNION ALL SELECT pipeline FROM sluice.ledger WHERE pipeline LIKE '%~%'
UNION ALL SELECT key FROM sluice.meta WHERE key LIKE 'rebuilt%' UNION ALL SELECT pipeline || output FROM sluice.targets WHERE pipeline LIKE '%~%'`)
	if _, err := os.Stat(filepath.Join(p.state, "pipelines", p.name, "rebuild")); err == nil {
		left = append(left, "rebuild/")
	}
	if len(left) > 0 {
		t.Errorf("the rebuild left %v", left)
	}
}

// swappedAt are the points of a rebuild in a daemon, in order, and whether the new version has the tables by then.
func swappedAt() (points []string, swapped map[string]bool) {
	swapped = map[string]bool{}
	for _, c := range rebuildPoints {
		if ofChanges(c.point) {
			points = append(points, c.point)
			swapped[c.point] = c.swapped
		}
	}
	return points, swapped
}

// TestDaemonDiesInAReplacement: a daemon is killed at every step of a rebuild beside the version that runs. The next
// daemon runs one version or the other, by what the tables are, and everything moves on.
func TestDaemonDiesInAReplacement(t *testing.T) {
	t.Parallel()
	p := newTimes(t)
	d := p.serve(t, "")
	if r := p.sluice(t, nil, "submit", p.file()); r.code != 0 {
		t.Fatal(r)
	}
	points, swapped := swappedAt()
	version := 1
	for _, point := range points {
		d.signal(t, syscall.SIGTERM)
		d.wait(t)
		d = p.serve(t, point+"=exit")
		p.shows(t, version)
		p.times(t, version+1)
		if r := p.sluice(t, nil, "submit", p.file(), "--rebuild"); r.code != 1 {
			t.Errorf("%s: submit did not notice that the daemon died:\n%v", point, r)
		}
		p.checkDeath(t, point, "exit", d.wait(t))
		if swapped[point] {
			version++
		}
		p.times(t, version)
		d = p.serve(t, "")
		p.shows(t, version)
		p.mustLeaveNothing(t)
		r := p.sluice(t, nil, "status", p.name)
		if told := strings.Contains(r.stdout, "the daemon ended before"); told == swapped[point] {
			t.Errorf("%s, swapped %t:\n%v", point, swapped[point], r)
		}
		p.verify(t)
	}
	p.times(t, version+1)
	if r := p.sluice(t, nil, "submit", p.file(), "--rebuild"); r.code != 0 {
		t.Errorf("the rebuild did not get to its end:\n%v", r)
	}
	p.shows(t, version+1)
	p.mustLeaveNothing(t)
	if r := p.sluice(t, nil, "stop", p.name); r.code != 0 {
		t.Error(r)
	}
	p.verify(t)
	p.replay(t)
}

// TestDaemonDiesInAChange: the same where the new version goes on from the log.
func TestDaemonDiesInAChange(t *testing.T) {
	t.Parallel()
	p := newTimes(t)
	steps := append([]string{"sink.open.after_epoch"}, compatiblePoints...)
	version := func(extras int) {
		text := fmt.Sprintf(timesSQL, 1)
		for i := range extras {
			text += fmt.Sprintf("CREATE MATERIALIZED VIEW extra_%d AS SELECT auction, max(price) AS top FROM bid WHERE auction %% 7 = %d GROUP BY auction;\n", i, i)
		}
		p.write(t, p.name+".sql", []byte(text))
	}
	version(len(steps))
	d := p.serve(t, "")
	if r := p.sluice(t, nil, "submit", p.file()); r.code != 0 {
		t.Fatal(r)
	}
	for i, point := range steps {
		d.signal(t, syscall.SIGTERM)
		d.wait(t)
		hit := ""
		if !ofChanges(point) {
			hit = ":2" // the first is of the start
		}
		d = p.serve(t, point+"=exit"+hit)
		p.shows(t, 1)
		version(len(steps) - i - 1)
		if r := p.sluice(t, nil, "submit", p.file()); r.code != 1 {
			t.Errorf("%s: submit did not notice that the daemon died:\n%v", point, r)
		}
		p.checkDeath(t, point, "exit", d.wait(t))
		d = p.serve(t, "")
		p.shows(t, 1)
		if r := p.sluice(t, nil, "diff", p.name, p.file()); !strings.HasPrefix(r.stderr, "identical") {
			t.Errorf("%s: the new version does not run:\n%v", point, r)
		}
		p.verify(t)
	}
	if r := p.sluice(t, nil, "stop", p.name); r.code != 0 {
		t.Error(r)
	}
	p.verify(t)
	p.replay(t)
}

// TestReplacementFails: every step of a rebuild fails once. Before the swap the version before goes on; afterwards
// the daemon gets to the new one by itself.
func TestReplacementFails(t *testing.T) {
	t.Parallel()
	points, swapped := swappedAt()
	p := newTimes(t)
	p.serve(t, strings.Join(points, "=error;")+"=error")
	if r := p.sluice(t, nil, "submit", p.file()); r.code != 0 {
		t.Fatal(r)
	}
	p.times(t, 2)
	for _, point := range points {
		if swapped[point] {
			break
		}
		p.sluice(t, nil, "submit", p.file(), "--rebuild").mustFail(t, 1, "injected by a failpoint", point)
		p.shows(t, 1)
		p.mustLeaveNothing(t)
	}
	// What is left to fail fails one after the other.
	p.sluice(t, nil, "submit", p.file(), "--rebuild")
	eventually(t, "the new version runs", func() bool {
		return p.status(t).Replacement.State == "done"
	})
	p.shows(t, 2)
	p.mustLeaveNothing(t)
	p.verify(t)
	if r := p.sluice(t, nil, "stop", p.name); r.code != 0 {
		t.Error(r)
	}
	p.replay(t)
}

// TestReadersOfAReplacement: in every snapshot the tables are of one version and agree with each other, and the
// version before commits while the new one is computed.
func TestReadersOfAReplacement(t *testing.T) {
	t.Parallel()
	p := newTimes(t)
	p.serve(t, "change.rebuild.after_catch_up=sleep(2s)")
	if r := p.sluice(t, nil, "submit", p.file()); r.code != 0 {
		t.Fatal(r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	seen := make(chan map[string]bool)
	go func() {
		rows := map[string]bool{}
		for ctx.Err() == nil {
			row := pgtest.Rows(t, p.url, `SELECT (SELECT coalesce(sum(n), 0) FROM by_auction) = n AND n % times = 0, times, count(*) OVER () FROM total`)
			rows[strings.Join(row, " ")] = true
			row = pgtest.Rows(t, p.url, `SELECT batch FROM sluice.ledger WHERE pipeline = 'faults' AND EXISTS (SELECT FROM sluice.ledger WHERE pipeline LIKE '%~%')`)
			rows["batch "+strings.Join(row, "")] = true
		}
		seen <- rows
	}()
	p.times(t, 3)
	r := p.sluice(t, nil, "submit", p.file(), "--rebuild")
	if r.code != 0 {
		t.Fatal(r)
	}
	p.shows(t, 3)
	cancel()
	batches := 0
	for row := range <-seen {
		switch {
		case strings.HasPrefix(row, "batch "):
			batches++
		case row != "t|1|1" && row != "t|3|1":
			t.Errorf("a reader saw %s", row)
		}
	}
	if batches < 4 { // none, and at least two before the last
		t.Errorf("the version before committed only %d batches beside the new one", batches)
	}
	p.verify(t)
}

// TestStandbyInAReplacement: while nothing runs, because versions change, the standby does not take over; when the
// daemon dies in the middle of the exchange, it does, and completes it.
func TestStandbyInAReplacement(t *testing.T) {
	t.Parallel()
	two := newPair(t, fmt.Sprintf(timesSQL, 1), nil)
	a := two.a.serve(t, "change.rebuild.after_stop=sleep(5s);change.exchange.between_renames=exit:2") // longer than a lease
	if r := two.a.sluice(t, nil, "submit", two.a.file()); r.code != 0 {
		t.Fatal(r)
	}
	two.b.serve(t, "", "--standby", two.a.state)
	two.b.awaitState(t, "standby")
	two.a.times(t, 2)
	if r := two.a.sluice(t, nil, "submit", two.a.file(), "--rebuild"); r.code != 0 {
		t.Fatal(r)
	}
	two.a.shows(t, 2)
	two.b.awaitState(t, "standby")
	if s := two.b.status(t); !strings.Contains(s.Owner, fmt.Sprintf(":%d:", a.cmd.Process.Pid)) {
		t.Errorf("the standby knows another owner: %+v", s)
	}
	two.a.times(t, 3)
	two.a.sluice(t, nil, "submit", two.a.file(), "--rebuild")
	two.a.checkDeath(t, "change.exchange.between_renames", "exit", a.wait(t))
	two.b.awaitState(t, "running")
	two.b.shows(t, 3)
	two.b.mustLeaveNothing(t)
	two.b.verify(t)
	two.b.replay(t)
}
