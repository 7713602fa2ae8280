package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/planner/change"
)

type diffOptions struct {
	*app
	state string
	json  bool
}

func (a *app) diffCommand() *cobra.Command {
	o := &diffOptions{app: a}
	cmd := &cobra.Command{
		Use:     "diff OLD.sql|NAME NEW.sql",
		GroupID: "look",
		Short:   "Say what a changed file changes, operator by operator, and whether it can go on",
		Long: `Compare two versions of a pipeline: two files, or a file with the pipeline NAME as its log has it. The verdict is one of

  identical            the same program, whatever the text looks like
  compatible           run, submit and resume go on from the log
  needs rebuild        a view has to be computed from the beginning of its sources: start with --rebuild
  incompatible source  the recorded offsets would mean other rows: give the pipeline another name

Nothing is read but the files and the log. The exit code is 0 if the new version goes on from the old one's log, and 1 if not.`,
		Example: `  sluice diff flights flights.sql             # the pipeline that ran, and what its file says now
  git show HEAD:flights.sql | sluice diff - flights.sql
  sluice diff flights flights.sql --json | jq -r .verdict`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), args[0], args[1])
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"sql"}, cobra.ShellCompDirectiveFilterFileExt
			}
			names, _ := a.pipelineNames(&o.state)(cmd, nil, word)
			return names, cobra.ShellCompDirectiveDefault
		},
	}
	a.stateFlag(cmd, &o.state)
	jsonFlag(cmd, &o.json)
	return cmd
}

// diffReport is what diff --json prints.
type diffReport struct {
	Old string `json:"old"`
	New string `json:"new"`
	change.Diff
}

func (o *diffOptions) run(ctx context.Context, oldArg, newArg string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	old, err := o.old(ctx, oldArg)
	if err != nil {
		return orInterrupted(ctx, err)
	}
	now, err := o.fileVersion(ctx, newArg)
	if err != nil {
		return orInterrupted(ctx, err)
	}
	r := diffReport{oldArg, newArg, change.Compare(old, now)}
	if o.json {
		if err := o.writeJSON(r); err != nil {
			return err
		}
	} else if err := o.print(r); err != nil {
		return err
	}
	if r.Verdict > change.Compatible {
		return errReported
	}
	return nil
}

func (o *diffOptions) print(r diffReport) error {
	if len(r.Changes) > 0 {
		t := term.NewTable(o.streams.Out, "VERDICT", "WHAT", "NAME", "OPERATOR", "CHANGE")
		for _, c := range r.Changes {
			t.Row(c.Verdict.String(), c.What, c.Name, c.Operator, c.Detail)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.streams.Err, "%s: %s\n", r.Verdict, verdictMeans[r.Verdict])
	return nil
}

var verdictMeans = map[change.Verdict]string{
	change.Identical:    "the new version computes what the old one does",
	change.Compatible:   "the new version goes on from the old one's log",
	change.Rebuild:      "start the new version with --rebuild, or under another --name",
	change.Incompatible: "give the new version another --name",
}

// old reads a file, or what the log of a pipeline says.
func (o *diffOptions) old(ctx context.Context, arg string) (*change.Version, error) {
	if info, err := os.Stat(arg); arg == "-" || err == nil && info.Mode().IsRegular() || strings.HasSuffix(arg, ".sql") {
		return o.fileVersion(ctx, arg)
	}
	state, err := o.stateDirFrom(o.state)
	if err != nil {
		return nil, err
	}
	dir, err := state.find(arg)
	if err != nil {
		return nil, err
	}
	if v, err := loggedVersion(dir); err != nil || v != nil {
		return v, err
	}
	// An older sluice kept no fingerprints; what it ran is still there.
	l, _, _, err := o.reload(ctx, o.state, arg)
	if err != nil {
		return nil, err
	}
	return l.version(), nil
}

// loggedVersion is what a log says, nil if it says nothing.
func loggedVersion(dir pipelineDir) (*change.Version, error) {
	if _, err := os.Stat(dir.logDir()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	report, err := checkpointlog.Inspect(dir.logDir(), vfs.OS{})
	if err != nil {
		return nil, err
	}
	return change.Decode(report.Header.Operators)
}

func (o *diffOptions) fileVersion(ctx context.Context, path string) (*change.Version, error) {
	s, err := o.readSpec(path, "")
	if err != nil {
		return nil, err
	}
	l, err := o.load(ctx, s)
	if err != nil {
		return nil, err
	}
	return l.version(), nil
}
