package main

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/server"
)

// replace has a changed file take the place of the version that the daemon has; there is what was said to the
// submission of a new pipeline.
func (o *submitOptions) replace(ctx context.Context, c *server.Client, s server.Spec, there error) (server.Status, error) {
	status, err := c.Status(ctx, s.Name)
	if err != nil || s.Options.FromSavepoint != "" {
		return status, there
	}
	text, err := c.SQL(ctx, s.Name)
	if err != nil {
		return status, err
	}
	same := text == s.SQL && status.Dir == s.Dir && (len(s.Options.Settings) == 0 || maps.Equal(status.Options.Settings, s.Options.Settings)) &&
		(!s.Options.UntilEnd || status.Options.UntilEnd)
	if same && !o.rebuild {
		return status, there // what is there may be meant, or another name
	}
	if status, err = c.Replace(ctx, s, o.rebuild); err != nil {
		return status, err
	}
	if o.detach {
		return status, nil
	}
	return o.awaitReplacement(ctx, c, s.Name)
}

// awaitReplacement shows how far a new version is until it has taken the place of the one before.
func (o *submitOptions) awaitReplacement(ctx context.Context, c *server.Client, name string) (server.Status, error) {
	line := term.NewProgress(o.streams.Err)
	defer line.Done()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	told := false
	for {
		s, err := c.Status(ctx, name)
		if err != nil {
			return s, err
		}
		r := s.Replacement
		if r == nil {
			return s, fmt.Errorf("the daemon that replaced pipeline %s is gone\nhint: sluice status %s tells which version runs", name, name)
		}
		if r.Rebuild && !told {
			told = true
			fmt.Fprintf(line, "rebuilding %s beside the version that runs; the tables answer and go on as before until they are swapped\n  give up: sluice stop %s --rebuild%s\n", name, name, o.where())
		}
		if r.Progress != nil {
			at := *r.Progress
			at.Phase = r.State
			line.Update(rebuildSnapshot(at))
		}
		switch {
		case r.State == server.Replaced:
			return s, nil
		case r.State == server.GivenUp:
			return s, fmt.Errorf("the rebuild of pipeline %s was given up: the version before goes on", name)
		case r.State == server.NotReplaced:
			return s, fmt.Errorf("pipeline %s was not replaced, and is %s: %w", name, s.State, r.Problem)
		case s.State == server.Failed && s.Problem != nil:
			return s, fmt.Errorf("pipeline %s failed: %w", name, s.Problem)
		}
		select {
		case <-ctx.Done():
			fmt.Fprintf(line, "no longer waiting; the new version is still on its way, see sluice status %s\n", name)
			return s, ctx.Err()
		case <-tick.C:
		}
	}
}

// replacementFields shows a new version on its way, or what became of it.
func (o *daemonOptions) replacementFields(r *server.Replacement) {
	if r == nil {
		return
	}
	line := string(r.State)
	if at := r.Progress; at != nil && !r.State.Settled() {
		line += ", " + o.rebuildLine(at)
	}
	if !r.EndedAt.IsZero() {
		line += ", " + o.ago(r.EndedAt)
	}
	o.field("new version", line)
	o.field("new file", r.File)
	if r.Problem != nil {
		o.field("new error", r.Problem.Message)
		o.field("new hint", r.Problem.Hint)
	}
}

func (o *daemonOptions) rebuildLine(at *server.RebuildProgress) string {
	line := o.count(at.Rows) + " rows"
	if at.Steps > 0 {
		line += fmt.Sprintf(", %d %%", 100*at.StepsDone/at.Steps)
	}
	return line + ", up to batch " + o.count(at.TargetBatch) + " of the version that runs"
}
