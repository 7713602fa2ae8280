package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
)

// The checkpoint part asks what durability costs beside the batches: throughput with snapshots and without, in turns;
// the longest that a batch waits for a snapshot of large state; how long a restart takes; and how much is logged for
// a changed row.

// A checkpointPair is one workload, run with snapshots and without.
type checkpointPair struct {
	name    string
	rows    int64
	on, off checkpointTimes
	taken   []int64 // the newest snapshot's batch, 0 if none
}

// checkpointTimes are those of one side, by the clock and by the processor.
type checkpointTimes struct{ took, cpu []time.Duration }

func (t *checkpointTimes) add(s summary) {
	t.took, t.cpu = append(t.took, s.took()), append(t.cpu, s.CPU)
}

// A checkpointRestart is a filled state, and a restart on it.
type checkpointRestart struct {
	keys       int64
	stateBytes int64
	longest    time.Duration // wait for a snapshot
	commit     time.Duration // process start to the first new commit
	stored     float64       // log bytes a changed state row
	raw        float64       // of the row itself, as encoded
}

const withoutSnapshots = "SET snapshot_log_bytes = '1TiB';\nSET snapshot_interval = '1000 days';\n"

// checkpointKeys are the groups of the paired runs.
const checkpointKeys = 1_000_000

func (b *bench) checkpoint(ctx context.Context) (p *checkpointPair, restarts []checkpointRestart, err error) {
	if b.only == "" || b.only == "pair" {
		if p, err = b.checkpointPair(ctx); err != nil || b.only != "" {
			return p, nil, err
		}
	}
	for _, keys := range []int64{b.rows / 2, b.rows * 5} {
		r, err := b.checkpointRestart(ctx, keys)
		if err != nil {
			return nil, nil, fmt.Errorf("restart with %d groups: %w", keys, err)
		}
		restarts = append(restarts, r)
	}
	return p, restarts, nil
}

// checkpointPair runs the same rows with and without snapshots, taking turns about who goes first.
func (b *bench) checkpointPair(ctx context.Context) (*checkpointPair, error) {
	p := &checkpointPair{name: scaleCases[0].name, rows: b.rows * 5}
	input, err := os.MkdirTemp(b.work, "input-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(input)
	file := filepath.Join(input, "1.csv")
	if err := scaleInput(ctx, file, fmt.Sprintf("SELECT hash(i) %% %d AS k, i AS v FROM range(%d) t(i)", checkpointKeys, p.rows)); err != nil {
		return nil, err
	}
	for run := range b.runs {
		for turn := range 2 {
			on := (run+turn)%2 == 0
			s, err := b.checkpointRun(ctx, file, on)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(os.Stderr, "run %d/%d  snapshots %-5v %6.2f s  %6.2f CPU s  %s rows/s\n", run+1, b.runs, on, s.took().Seconds(), s.CPU.Seconds(), rate(p.rows, s.took()))
			if on {
				p.on.add(s)
				p.taken = append(p.taken, s.SnapshotBatch)
			} else {
				p.off.add(s)
			}
		}
	}
	return p, nil
}

func (b *bench) checkpointRun(ctx context.Context, file string, on bool) (s summary, err error) {
	dir, done, err := b.scratch(ctx)
	if err != nil {
		return s, err
	}
	defer done(&err)
	for _, name := range []string{"big", "fresh"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return s, err
		}
	}
	if err := os.Symlink(file, filepath.Join(dir, "big", "1.csv")); err != nil {
		return s, err
	}
	if err := os.WriteFile(filepath.Join(dir, "fresh", "0.csv"), []byte("k,v\n"), 0o644); err != nil {
		return s, err
	}
	sql := scalePipeline(scaleCases[0], dir, 200_000) // two sources share the limit
	if !on {
		sql = withoutSnapshots + sql
	}
	return b.run(ctx, dir, sql)
}

// checkpointRestart fills the state, has small batches go on beside many snapshots, and starts once
// more.
func (b *bench) checkpointRestart(ctx context.Context, keys int64) (r checkpointRestart, err error) {
	dir, done, err := b.scratch(ctx)
	if err != nil {
		return r, err
	}
	defer done(&err)
	for _, name := range []string{"big", "fresh"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return r, err
		}
	}
	fresh := func(n int) error {
		return scaleInput(ctx, filepath.Join(dir, "fresh", fmt.Sprintf("%d.csv", n)), fmt.Sprintf("SELECT hash(i + %d) %% %d AS k, i AS v FROM range(%d) t(i)", n*1_000_000, keys, scaleBatches*scaleRows))
	}
	if err := scaleInput(ctx, filepath.Join(dir, "big", "1.csv"), fmt.Sprintf("SELECT (i * 7919) %% %d AS k, i AS v FROM range(%d) t(i)", keys, keys)); err != nil {
		return r, err
	}
	if err := os.WriteFile(filepath.Join(dir, "fresh", "0.csv"), []byte("k,v\n"), 0o644); err != nil {
		return r, err
	}
	s, err := b.run(ctx, dir, scalePipeline(scaleCases[0], dir, 500_000))
	if err != nil {
		return r, err
	}
	filling := s.SnapshotWait
	if err := fresh(1); err != nil {
		return r, err
	}
	s, err = b.run(ctx, dir, "SET snapshot_interval = '500ms';\nSET snapshot_log_bytes = '1MiB';\n"+scalePipeline(scaleCases[0], dir, scaleRows*2))
	if err != nil {
		return r, err
	}
	r.keys, r.stateBytes, r.longest = keys, s.StateBytes, time.Duration(max(filling, s.SnapshotWait))
	before := s.Batch
	if err := fresh(2); err != nil {
		return r, err
	}
	start := time.Now()
	if s, err = b.run(ctx, dir, scalePipeline(scaleCases[0], dir, scaleRows*2)); err != nil {
		return r, err
	}
	if err := b.loggedAfter(ctx, dir, before, start, &r); err != nil {
		return r, err
	}
	fmt.Fprintf(os.Stderr, "%12s groups: longest wait %5.1f ms, first commit %5.2f s after the start, %.1f bytes logged a row of %.1f\n",
		thousands(keys), float64(r.longest)/1e6, r.commit.Seconds(), r.stored, r.raw)
	return r, nil
}

// loggedAfter reads from the log when the first batch after one was committed, and what the batches took in it.
func (b *bench) loggedAfter(ctx context.Context, dir string, before int64, start time.Time, r *checkpointRestart) error {
	doc, err := b.command(ctx, "log", "show", "bench", "--state-dir", dir, "--json")
	if err != nil {
		return err
	}
	var rows, stored, raw int64
	for d := json.NewDecoder(bytes.NewReader(doc)); d.More(); {
		var e struct {
			Prepared  *checkpointlog.Prepared   `json:"prepared"`
			Committed *checkpointlog.Committed  `json:"committed"`
			Deltas    []checkpointlog.DeltaInfo `json:"deltas"`
		}
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if e.Committed != nil && e.Committed.Batch == before+1 {
			r.commit = e.Committed.At.Sub(start)
		}
		if e.Prepared == nil || e.Prepared.Batch <= before {
			continue
		}
		for _, s := range e.Prepared.States {
			rows += s.Rows
		}
		for _, delta := range e.Deltas {
			stored += delta.StoredBytes
			raw += delta.Bytes
		}
	}
	r.stored, r.raw = float64(stored)/float64(rows), float64(raw)/float64(rows)
	return nil
}

func reportCheckpoint(w *strings.Builder, p *checkpointPair, restarts []checkpointRestart) {
	if p != nil {
		reportPair(w, p)
	}
	if len(restarts) > 0 {
		reportRestarts(w, restarts)
	}
}

func reportPair(w *strings.Builder, p *checkpointPair) {
	fmt.Fprintf(w, "Checkpointing: %s rows over %s groups into nothing, batches of 100,000 rows, snapshots at the default settings and without, in turns:\n\n", thousands(p.rows), thousands(checkpointKeys))
	fmt.Fprintln(w, "| snapshots | seconds | rows/s | CPU seconds |")
	fmt.Fprintln(w, "|---|---|---|---|")
	fmt.Fprintf(w, "| on | %s | %s | %s |\n", spread(p.on.took), rate(p.rows, median(p.on.took)), spread(p.on.cpu))
	fmt.Fprintf(w, "| off | %s | %s | %s |\n", spread(p.off.took), rate(p.rows, median(p.off.took)), spread(p.off.cpu))
	fmt.Fprintf(w, "\nCost of snapshots, median of the pairs: %s by the clock, %s by the processor. The newest snapshot was of batch %d.\n\n",
		cost(p.on.took, p.off.took), cost(p.on.cpu, p.off.cpu), slices.Max(p.taken))
}

func reportRestarts(w *strings.Builder, restarts []checkpointRestart) {
	fmt.Fprintln(w, "| groups | state | longest wait of a batch for a snapshot, ms | process start to first new commit, s | log bytes a changed row | of the row itself |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
	for _, r := range restarts {
		fmt.Fprintf(w, "| %s | %.0f MB | %.1f | %.2f | %.1f | %.1f |\n", thousands(r.keys), float64(r.stateBytes)/1e6, float64(r.longest)/1e6, r.commit.Seconds(), r.stored, r.raw)
	}
}

// cost is how much more one side of the pairs took.
func cost(on, off []time.Duration) string {
	var pairs []float64
	for i := range on {
		pairs = append(pairs, 100*(on[i].Seconds()/off[i].Seconds()-1))
	}
	slices.Sort(pairs)
	return fmt.Sprintf("%.1f %% (%.1f to %.1f)", pairs[(len(pairs)-1)/2], pairs[0], pairs[len(pairs)-1])
}
