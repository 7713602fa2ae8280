package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// drillSteps are the steps of the protocol, in order, with the failpoint right after each.
var drillSteps = []struct{ name, point string }{
	{"plan", "batch.after_plan"},
	{"execute", "batch.execute.after_run"},
	{"stage", "batch.after_stage"},
	{"prepare", "batch.after_prepare"},
	{"commit", "batch.after_commit"},
	{"done", "batch.after_done"},
}

func drillStepNames() []string {
	var out []string
	for _, s := range drillSteps {
		out = append(out, s.name)
	}
	return out
}

type drillOptions struct {
	*app
	postgres string
	state    string
	steps    []string
	rounds   int
	seed     uint64
	events   int64
	json     bool
	keep     bool
}

func (a *app) drillCommand() *cobra.Command {
	o := &drillOptions{app: a}
	cmd := &cobra.Command{
		Use:     "drill FILE.sql|NAME",
		GroupID: "prove",
		Short:   "Kill a scratch copy of a pipeline at every step, and prove that it recovers",
		Long: `Prove with your own SQL and your own input that a crash loses nothing and counts nothing twice.

drill runs a copy of the pipeline with a state directory of its own. Its tables go to a private PostgreSQL in that
directory or, with --postgres or SLUICE_POSTGRES, to a schema of its own there; file sinks write below the scratch
directory. Nothing of the pipeline itself is touched, whether it runs or not, and all that was made is removed at the end.

For each step of the protocol (plan, execute, stage, prepare, commit, done), an engine process is killed with SIGKILL
right after that step; with --rounds, also at random instants. Each time the tables are verified where the engine died,
a new engine recovers and commits, is killed in turn, and the tables are verified again. The report says how long
recovery took, from the start of the process to its first new commit, and how many rows had to be read a second time.
It ends with exit code 1 if a proof fails; the scratch copy is then kept.

The input is what is there now: files are read to their present end, whatever their mode, and a nexmark source without
events gives as many as --events says. Batches are made small enough that there is one for every kill; if the input ends
all the same, the copy begins anew.`,
		Example: `  sluice drill flights.sql
  sluice drill flights --steps prepare,commit --rounds 20
  sluice drill flights.sql --rounds 100 --seed 7 --json | jq .ok`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0]) },
		ValidArgsFunction: func(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
			names, _ := a.pipelineNames(&o.state)(cmd, args, to)
			if len(names) == 0 {
				return sqlFiles(cmd, args, to)
			}
			return names, cobra.ShellCompDirectiveDefault
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.steps, "steps", drillStepNames(), "after which steps to kill the engine; none to kill at random instants only")
	f.IntVar(&o.rounds, "rounds", 0, "kill at this many random instants as well")
	f.Uint64Var(&o.seed, "seed", 0, "repeats the instants of an earlier drill (default by the clock)")
	f.Int64Var(&o.events, "events", 100_000, "events of a nexmark source that has no end")
	f.BoolVar(&o.keep, "keep", false, "keep the scratch copy, to look at it")
	jsonFlag(cmd, &o.json)
	a.databaseFlags(cmd, &o.postgres, &o.state)
	if err := cmd.RegisterFlagCompletionFunc("steps", completeSteps); err != nil {
		panic("sluice: completion of --steps: " + err.Error())
	}
	return cmd
}

// completeSteps completes the last of several names.
func completeSteps(_ *cobra.Command, _ []string, to string) ([]string, cobra.ShellCompDirective) {
	done := to[:strings.LastIndexByte(to, ',')+1]
	var out []string
	for _, name := range drillStepNames() {
		if !slices.Contains(strings.Split(done, ","), name) {
			out = append(out, done+name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveKeepOrder
}

// drillReport is what drill --json prints.
type drillReport struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Seed uint64 `json:"seed"`
	// Rows and Batches are those of an undisturbed run, WholeInput says that it was at its end; the drill's own
	// batches have at most MaxBatchRows.
	Rows         int64        `json:"rows"`
	Batches      int64        `json:"batches"`
	WholeInput   bool         `json:"whole_input"`
	MaxBatchRows int64        `json:"max_batch_rows"`
	Kills        int          `json:"kills"`
	Proofs       int          `json:"proofs"`
	ElapsedMS    int64        `json:"elapsed_ms"`
	Rounds       []drillRound `json:"rounds"`
	// Kept is the scratch state directory, if it was not removed.
	Kept string `json:"kept,omitempty"`
}

// A drillRound is one kill and what came after it.
type drillRound struct {
	// Step is where the engine was killed: a step's name, or "random" AfterMS after its start.
	Step    string `json:"step"`
	AfterMS int64  `json:"after_ms,omitempty"`
	// Batch is the last one committed when it was killed.
	Batch int64 `json:"batch"`
	// RecoveryMS is from the start of the next process to its first new commit; null if there was none, because
	// the input was at its end.
	RecoveryMS *float64 `json:"recovery_ms"`
	// RowsReadAgain had been read when the engine was killed, and had to be read a second time.
	RowsReadAgain int64 `json:"rows_read_again"`
	OK            bool  `json:"ok"`
	// Problem says why not.
	Problem string `json:"problem,omitempty"`
}

func (o *drillOptions) run(ctx context.Context, arg string) (err error) {
	points, err := o.points()
	if err != nil {
		return err
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	s, err := o.copyOf(ctx, arg)
	if err != nil {
		return orInterrupted(ctx, err)
	}
	d, err := o.newDrill(ctx, s)
	if err != nil {
		return orInterrupted(ctx, err)
	}
	r, err := d.run(ctx, points, o.rounds)
	err = errors.Join(orInterrupted(ctx, err), d.close(o.keep || r != nil && !r.OK && err == nil, r))
	if err != nil {
		return err
	}
	if o.json {
		err = o.writeJSON(r)
	} else {
		err = o.print(r, arg)
	}
	if err == nil && !r.OK {
		err = fmt.Errorf("a drill of %s failed\nhint: `sluice drill %s --seed %d --rounds %d` repeats it; the scratch copy is in %s", s.Name, arg, r.Seed, o.rounds, r.Kept)
	}
	return err
}

// points checks --steps.
func (o *drillOptions) points() (points []string, err error) {
	if o.rounds < 0 || o.events < 1 {
		return nil, usagef("sluice drill", "--rounds %d --events %d: both must be positive", o.rounds, o.events)
	}
	for _, name := range o.steps {
		if name == "none" && len(o.steps) == 1 {
			break
		}
		at := slices.Index(drillStepNames(), name)
		if at < 0 {
			hint := "the steps are " + strings.Join(drillStepNames(), ", ")
			if best := ddl.Suggest(name, drillStepNames()); best != "" {
				hint = "did you mean " + best + "?"
			}
			return nil, usagef("sluice drill", "--steps: %q is not a step of the protocol: %s", name, hint)
		}
		points = append(points, name)
	}
	if len(points) == 0 && o.rounds == 0 {
		return nil, usagef("sluice drill", "--steps none --rounds 0 is no drill")
	}
	return points, nil
}

func (o *drillOptions) print(r *drillReport, arg string) error {
	t := term.NewTable(o.streams.Out, "KILLED AFTER", "AT BATCH", "RECOVERED IN", "READ AGAIN", "RESULT").AlignRight(1, 2, 3)
	for _, x := range r.Rounds {
		at, recovered, result := x.Step, "", "exactly once"
		if x.Step == "random" {
			at = term.Duration(time.Duration(x.AfterMS) * time.Millisecond)
		}
		if x.RecoveryMS != nil {
			recovered = term.Duration(time.Duration(*x.RecoveryMS * float64(time.Millisecond)))
		}
		if !x.OK {
			result = "FAILED: " + x.Problem
		}
		t.Row(at, fmt.Sprint(x.Batch), recovered, fmt.Sprint(x.RowsReadAgain), result)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	result := "exactly once"
	if !r.OK {
		result = "FAILED"
	}
	fmt.Fprintf(o.streams.Err, "%s: %s: %d kills, %d proofs in %s, seed %d\n", arg, result, r.Kills, r.Proofs, term.Duration(time.Duration(r.ElapsedMS)*time.Millisecond), r.Seed)
	if r.Kept != "" {
		fmt.Fprintf(o.streams.Err, "  the scratch copy is in %s\n", r.Kept)
	}
	return nil
}
