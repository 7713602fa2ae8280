package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
)

type repairOptions struct {
	*logOptions
	postgres     string
	from         int64
	dryRun       bool
	ignoreLedger bool
}

func (a *app) logRepairCommand() *cobra.Command {
	o := &repairOptions{logOptions: &logOptions{app: a}}
	cmd := &cobra.Command{
		Use:   "repair NAME|DIR",
		Short: "Cut off a log's torn tail, or give up everything from a batch on",
		Long: `Make a log usable again, and keep every byte that is taken out of it.

A torn tail, which a crash leaves, is cut off and kept as a copy; a start does the same by itself. Anything else is
damage and is refused, because going on without the damaged bytes gives up batches. With --force-from BATCH that is
done: the log ends with the batch before, and what came after is set aside (*.torn, *.bad). The batches given up are
read from the sources again, as far as those still have the rows. The same option takes a log that reads well back to
an older batch, which a PostgreSQL that was restored from a backup needs.

Before anything is changed, the ledgers of PostgreSQL and of the file sinks are asked what the next start would do with
the repaired log. If it would be refused, because a ledger has batches that the log would no longer have, the repair
is refused too. --dry-run says all this and changes nothing.`,
		Example: `  sluice log repair flights --dry-run
  sluice log repair flights --force-from 1200`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0]) },
	}
	f := cmd.Flags()
	f.Int64Var(&o.from, "force-from", 0, "give up this batch and all later ones")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be done, and change nothing")
	f.BoolVar(&o.ignoreLedger, "ignore-ledger", false, "do not ask the ledgers, and repair even if the next start would be refused")
	f.StringVar(&o.postgres, "postgres", "", "connection string of the PostgreSQL with the ledger (default the one that the pipeline ran with)")
	return o.flags(cmd)
}

// repairReport is what log repair --json prints.
type repairReport struct {
	Dir     string `json:"dir"`
	Needed  bool   `json:"needed"`
	Done    bool   `json:"done"`
	From    int64  `json:"from,omitempty"`
	Segment string `json:"segment,omitempty"`
	CutAt   int64  `json:"cut_at,omitempty"`
	// CutBytes are taken off the segment's end, and kept in Kept.
	CutBytes int64    `json:"cut_bytes"`
	Kept     string   `json:"kept,omitempty"`
	SetAside []string `json:"set_aside,omitempty"`
	// LostBatches are given up, LostRows of those whose record can be read.
	LostBatches int64 `json:"lost_batches"`
	LostRows    int64 `json:"lost_rows"`
	Unreadable  int64 `json:"unreadable_batches"`
	// LastPrepared and LastCommitted are the log's after the repair.
	LastPrepared  int64 `json:"last_prepared"`
	LastCommitted int64 `json:"last_committed"`
	// NextStart is what a start then does, or why it is refused; empty if the ledgers were not asked.
	NextStart string           `json:"next_start,omitempty"`
	Refused   bool             `json:"next_start_refused"`
	Ledgers   map[string]int64 `json:"ledgers,omitempty"`
	Spared    []string         `json:"spared_damage,omitempty"`
}

func (o *repairOptions) run(ctx context.Context, arg string) error {
	if o.from < 0 {
		return usagef("sluice log repair", "--force-from is %d, and batches count from 1", o.from)
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	dir, err := o.dir(arg)
	if err != nil {
		return err
	}
	plan, err := checkpointlog.PlanRepair(dir, vfs.OS{}, o.from)
	if err != nil {
		return err
	}
	r := newRepairReport(plan)
	refusal := o.askLedgers(ctx, arg, plan, &r)
	if plan.Needed() && !o.dryRun && refusal == nil {
		if r.Kept, err = plan.Apply(); err != nil {
			return err
		}
		r.Done = true
	}
	if o.json {
		err = o.writeJSON(r)
	} else {
		err = o.print(r)
	}
	if o.dryRun {
		return err
	}
	return errors.Join(err, refusal)
}

func newRepairReport(p *checkpointlog.RepairPlan) repairReport {
	r := repairReport{Dir: p.Dir, Needed: p.Needed(), From: p.From, SetAside: p.SetAside, LostBatches: int64(len(p.Lost)) + p.Unreadable,
		Unreadable: p.Unreadable, LastCommitted: p.Facts.Committed, CutBytes: p.CutBytes}
	if p.CutBytes > 0 {
		r.Segment, r.CutAt = p.Cut, p.CutAt
	}
	if p.Facts.Prepared != nil {
		r.LastPrepared = p.Facts.Prepared.Batch
	}
	for _, b := range p.Lost {
		r.LostRows += b.Rows
	}
	for _, bad := range p.Spared {
		r.Spared = append(r.Spared, checkpointlog.Diagnose(vfs.OS{}, bad).String())
	}
	return r
}

func (o *repairOptions) print(r repairReport) error {
	w := o.streams.Err
	// Tenses: what was done, or what would be.
	did := func(done, would string) string {
		if r.Done {
			return done
		}
		return would
	}
	if !r.Needed {
		fmt.Fprintf(w, "nothing to repair: the log reads well up to batch %s\n", term.Count(r.LastPrepared))
	}
	if r.CutBytes > 0 {
		fmt.Fprintf(w, "%s %s from byte %d on: %d bytes\n", r.Segment, did("was cut off", "would be cut off"), r.CutAt, r.CutBytes)
	}
	if r.Kept != "" {
		fmt.Fprintf(w, "  they are kept in %s\n", r.Kept)
	}
	for _, name := range r.SetAside {
		fmt.Fprintf(w, "%s %s as %s.bad\n", name, did("was set aside", "would be set aside"), name)
	}
	if r.LostBatches > 0 {
		fmt.Fprintf(w, "given up: %s from %d on, %s rows to be read again from the sources", batches(r.LostBatches), r.From, term.Count(r.LostRows))
		if r.Unreadable > 0 {
			fmt.Fprintf(w, ", and those of %s whose record does not read", batches(r.Unreadable))
		}
		fmt.Fprintln(w)
	} else if r.Needed {
		fmt.Fprintln(w, "given up: no batch")
	}
	if r.Needed {
		fmt.Fprintf(w, "the log %s with batch %s\n", did("ends", "would end"), term.Count(r.LastPrepared))
	}
	for _, s := range r.Spared {
		fmt.Fprintf(w, "not needed by a start, and left as it is: %s\n", s)
	}
	if r.NextStart != "" {
		fmt.Fprintf(w, "next start: %s\n", r.NextStart)
	}
	if r.Needed && !r.Done {
		fmt.Fprintln(w, "nothing was changed")
	}
	return nil
}

func batches(n int64) string {
	if n == 1 {
		return "1 batch"
	}
	return term.Count(n) + " batches"
}

// askLedgers finds out what a start would do with the repaired log. The error refuses the repair.
func (o *repairOptions) askLedgers(ctx context.Context, arg string, plan *checkpointlog.RepairPlan, r *repairReport) error {
	if o.ignoreLedger {
		return nil
	}
	if !exists(filepath.Join(filepath.Dir(plan.Dir), "run.json")) {
		r.NextStart = "unknown: this directory does not say whose log it is, so that no ledger could be asked"
		return nil
	}
	sinks, err := o.ledgers(ctx, filepath.Dir(plan.Dir))
	if err != nil {
		return fmt.Errorf("ask the ledgers what the next start would do: %w\nhint: --ignore-ledger repairs without asking; nothing was changed", err)
	}
	r.Ledgers = map[string]int64{}
	for i := range sinks {
		r.Ledgers[sinks[i].Name] = sinks[i].Ledger.Batch
		sinks[i].Ledger.Epoch = max(sinks[i].Ledger.Epoch, 0) + 1 // a start raises it
	}
	if len(sinks) == 0 {
		return nil
	}
	d, err := checkpointlog.ResolveSinks(plan.Header.Plan, plan.Facts, sinks)
	if err != nil {
		return err
	}
	r.NextStart, r.Refused = nextStart(d, r.LastPrepared), d.Action == checkpointlog.Refuse
	if !r.Refused || !plan.Needed() {
		return nil
	}
	return fmt.Errorf("the repaired log would be refused at the next start: %s\nhint: restore PostgreSQL to batch %d first, or drop the pipeline and run it anew; --ignore-ledger repairs all the same; nothing was changed",
		d.Detail, r.LastPrepared)
}

func nextStart(d checkpointlog.Decision, last int64) string {
	switch d.Action {
	case checkpointlog.Refuse:
		return "refused: " + d.Detail
	case checkpointlog.Start:
		return "begins with batch 1"
	case checkpointlog.Resume:
		return fmt.Sprintf("goes on with batch %d", d.Batch)
	}
	return fmt.Sprintf("commits batch %d, then goes on", last)
}
