package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/server"
)

func (a *app) statusCommand() *cobra.Command {
	o := &daemonOptions{app: a}
	cmd := &cobra.Command{
		Use:     "status NAME",
		GroupID: "serve",
		Short:   "Show one of the daemon's pipelines in detail",
		Long: `Show where a pipeline is, what it writes, and its last failure with the next step. The exit code tells whether the
daemon has the pipeline; --json has the state for scripts.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, c *server.Client) error {
				s, err := c.Status(ctx, args[0])
				if err != nil {
					return err
				}
				return o.printStatus(s)
			})
		},
		ValidArgsFunction: a.pipelineNames(&o.state),
	}
	o.flags(cmd)
	return cmd
}

func (o *daemonOptions) printStatus(s server.Status) error {
	if o.json {
		return o.writeJSON(s)
	}
	o.field("pipeline", s.Name)
	o.field("state", o.stateLine(s))
	o.field("owner", s.Owner)
	o.field("file", filepath.Join(s.Dir, filepath.Base(s.File)))
	o.field("submitted", o.ago(s.SubmittedAt))
	if s.Progress != nil {
		o.progressFields(s.Progress)
	}
	if s.Restarts > 0 {
		o.field("restarts", fmt.Sprint(s.Restarts))
	}
	o.replacementFields(s.Replacement)
	o.field("plan", s.Plan)
	if len(s.Tables) > 0 || len(s.Files)+len(s.Topics) == 0 {
		o.field("tables", strings.Join(s.Tables, ", "))
	}
	for _, glob := range s.Files {
		o.field("files", glob)
	}
	if len(s.Topics) > 0 {
		o.field("topics", strings.Join(s.Topics, ", "))
	}
	if len(s.Tables) > 0 {
		o.field("look", o.look(s))
	}
	for _, w := range s.Warnings {
		o.field("warning", w)
	}
	if s.Problem != nil {
		o.field("failed", o.ago(s.Problem.At))
		o.field("error", s.Problem.Message)
		o.field("detail", s.Problem.Detail)
		o.field("hint", s.Problem.Hint)
	}
	return nil
}

func (o *daemonOptions) stateLine(s server.Status) string {
	line := string(s.State)
	if !o.streams.Out.IsTTY() {
		return line
	}
	line += " for " + term.Duration(max(time.Since(s.StateSince), 0))
	if !s.RetryAt.IsZero() {
		line += ", next attempt in " + term.Duration(max(time.Until(s.RetryAt), 0))
	}
	return line
}

func (o *daemonOptions) progressFields(p *microbatch.Progress) {
	o.field("batch", fmt.Sprintf("%s, epoch %d", o.count(p.Batch), p.Epoch))
	o.field("committed", o.ago(p.CommittedAt))
	o.field("rows", fmt.Sprintf("%s in, %s late, %s unreadable, %s out", o.count(p.RowsIn), o.count(p.RowsLate), o.count(p.RowsBad), o.count(p.RowsOut)))
	o.field("lag", lag(p))
	for _, w := range p.Waiting {
		o.field("waiting", "source "+w.Source+": "+w.State)
	}
	for _, r := range p.Retained {
		o.field("retained", retainedLine(r))
	}
	if !p.Watermark.IsZero() {
		o.field("watermark", p.Watermark.UTC().Format(time.RFC3339Nano))
	}
	if p.LastBatch > 0 {
		o.field("last batch", term.Duration(p.LastBatch))
	}
	for _, m := range p.Mirrors {
		o.field("copy", copyLine(m))
		o.field("copy error", m.Error)
	}
	o.field("kept", fmt.Sprintf("%s rows, %s", o.count(p.StateRows), term.Bytes(p.StateBytes)))
}

// retainedLine says what a source's server keeps, and how much more it may.
func retainedLine(r microbatch.Retained) string {
	line := term.Bytes(r.Bytes) + " of the server's log, by " + r.By
	if r.LeftBytes >= 0 {
		line += ", given up after " + term.Bytes(r.LeftBytes) + " more"
	}
	if r.State == "unreserved" || r.State == "lost" {
		line += " (" + r.State + ")"
	}
	return line
}

// field prints a line of a status; empty values are left out.
func (o *daemonOptions) field(name, value string) {
	if value == "" {
		return
	}
	if !o.streams.Out.IsTTY() {
		fmt.Fprintf(o.streams.Out, "%s\t%s\n", name, strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`).Replace(value))
		return
	}
	label := fmt.Sprintf("%-11s", name)
	fmt.Fprintf(o.streams.Out, "%s %s\n", o.streams.Out.Styled(term.Bold, label), strings.ReplaceAll(value, "\n", "\n"+strings.Repeat(" ", 12)))
}
