package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
)

type replayOptions struct {
	*logOptions
	postgres string
	into     string
	until    string
	replace  bool
}

func (a *app) replayCommand() *cobra.Command {
	o := &replayOptions{logOptions: &logOptions{app: a}}
	cmd := o.flags(&cobra.Command{
		Use:     "replay NAME|DIR",
		GroupID: "prove",
		Short:   "Execute logged batches again and compare every digest with the log",
		Long: `Execute logged batches again, from their recorded offsets and the state before them, in scratch state, and compare
every output digest, every state change and every watermark with what the log says. It writes nothing, needs no
PostgreSQL, and may run beside the engine. A difference means that the input was changed, or that something in the
engine is not deterministic.

With --into SCHEMA it makes the pipeline's tables once more, beside the ones that it maintains: the input up to the
ledger's offsets is read again, the file's own SELECTs answer over it in plain DuckDB, and the answers appear in that
schema of the pipeline's PostgreSQL, all at once. --until gives the tables as they were: after a batch, or at a time,
which is the last batch that was committed by then. The past reaches back as far as the log does, because the offsets
and watermarks of a batch stand there: retention keeps the log since the older of two snapshots, and all of it until
there are two (option keep_snapshots). The sources must still have the rows.`,
		Example: `  sluice replay flights
  sluice replay flights --from 40 --to 45 --json
  sluice replay flights --into as_it_was --until '2026-01-02 15:04:05'
  sluice replay flights --into check --until 120 --replace`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0]) },
	})
	f := cmd.Flags()
	f.StringVar(&o.into, "into", "", "make the tables in this schema, which must not exist or be empty")
	f.StringVar(&o.until, "until", "", "with --into: the tables as they were after this batch or at this time (UTC unless it says otherwise)")
	f.BoolVar(&o.replace, "replace", false, "with --into: take the place of a schema that an earlier replay made")
	f.StringVar(&o.postgres, "postgres", "", "connection string of the PostgreSQL with the tables (default the one that the pipeline ran with)")
	o.rangeFlags(cmd)
	return cmd
}

// replayReport is what replay --json prints.
type replayReport struct {
	Name string `json:"name"`
	microbatch.ReplayReport
	Match      bool                     `json:"match"`
	RowsIn     int64                    `json:"rows_in"`
	ElapsedMS  int64                    `json:"elapsed_ms"`
	Mismatches []microbatch.ReplayBatch `json:"mismatches"`
}

func (o *replayOptions) run(ctx context.Context, arg string) error {
	if err := o.checkRange("sluice replay"); err != nil {
		return err
	}
	if o.into == "" && (o.until != "" || o.replace) {
		return usagef("sluice replay", "--until and --replace say what --into SCHEMA makes; batches to compare are chosen with --from and --to")
	}
	if o.into != "" && (o.from > 0 || o.to > 0) {
		return usagef("sluice replay", "--into takes everything from the beginning to --until; --from and --to are for comparing batches")
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	if o.into != "" {
		if err := o.replayInto(ctx, arg); err != nil {
			return orInterrupted(ctx, err)
		}
		return nil
	}
	return o.replay(ctx, arg)
}

func (o *logOptions) replay(ctx context.Context, arg string) error {
	l, dir, _, err := o.reload(ctx, o.state, arg)
	if err != nil {
		return orInterrupted(ctx, err)
	}
	r, err := o.replayBatches(ctx, l, dir)
	if err != nil {
		return orInterrupted(ctx, err)
	}
	if o.json {
		if err := o.writeJSON(r); err != nil {
			return err
		}
	} else {
		for _, b := range r.Mismatches {
			fmt.Fprintf(o.streams.Out, "batch %d differs\n", b.Batch)
			for _, p := range b.Problems {
				fmt.Fprintf(o.streams.Out, "  %s\n", p)
			}
		}
		if r.Match {
			fmt.Fprintf(o.streams.Out, "%s: batches %d to %d match the log in every output and state digest (%s rows in %s)\n", r.Name, r.From, r.To,
				term.Count(r.RowsIn), term.Duration(time.Duration(r.ElapsedMS)*time.Millisecond))
		}
	}
	if !r.Match {
		return fmt.Errorf("%d of %d batches do not match the log\nhint: was the input changed since? `sluice verify %s` says whether the tables are right", r.Failed, r.Batches, arg)
	}
	return nil
}

func (o *logOptions) replayBatches(ctx context.Context, l *loaded, dir pipelineDir) (_ *replayReport, err error) {
	start := time.Now()
	sources, err := l.openSources(ctx, purpose{kind: toReadAgain, dir: dir})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeSources(sources)) }()
	scratch, err := os.MkdirTemp("", "sluice-replay-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	cfg := l.config(place{dir: dir, log: o.log}, sources, nil)
	cfg.TempDir, cfg.DuckDBVersion = filepath.Clean(scratch), duck.Version()

	r := &replayReport{Name: l.Name, Mismatches: []microbatch.ReplayBatch{}}
	line := term.NewProgress(o.streams.Err)
	defer line.Done()
	report, err := microbatch.Replay(ctx, cfg, microbatch.ReplayOptions{From: o.from, To: o.to, OnBatch: func(b microbatch.ReplayBatch) {
		r.RowsIn += b.RowsIn
		if !b.Match {
			r.Mismatches = append(r.Mismatches, b)
		}
		if o.streams.Err.IsTTY() {
			line.Update(term.Snapshot{Phase: "replaying", Batch: b.Batch, Rows: r.RowsIn})
		}
	}})
	r.ReplayReport, r.Match, r.ElapsedMS = report, report.Failed == 0, time.Since(start).Milliseconds()
	return r, err
}

// reload loads a pipeline again as it ran, from its directory.
func (a *app) reload(ctx context.Context, stateFlag, arg string) (*loaded, pipelineDir, record, error) {
	state, err := a.stateDirFrom(stateFlag)
	if err != nil {
		return nil, "", record{}, err
	}
	dir, err := state.find(arg)
	if err != nil {
		return nil, "", record{}, err
	}
	r, err := dir.record()
	if err != nil {
		return nil, dir, r, err
	}
	if ready, err := (rebuildDir{base: dir, fs: vfs.OS{}}).readReady(); err != nil || ready != nil {
		if err == nil {
			err = fmt.Errorf("a rebuild of pipeline %s was interrupted while it was swapped in\nhint: start the pipeline, which completes it", r.Name)
		}
		return nil, dir, r, err
	}
	text, err := os.ReadFile(dir.sqlFile())
	if err != nil {
		return nil, dir, r, fmt.Errorf("read what the pipeline runs: %w", err)
	}
	l, err := a.load(ctx, spec{Name: r.Name, Text: text, File: dir.sqlFile(), BaseDir: r.BaseDir, UntilEnd: r.UntilEnd, Settings: r.Settings, Scratch: r.Scratch})
	return l, dir, r, err
}
