package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/checkpointstore"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/server"
)

// A mirror is a checkpointstore.Mirror as microbatch knows it.
type mirror struct{ *checkpointstore.Mirror }

var _ microbatch.Mirror = mirror{}

func (m mirror) Status() microbatch.MirrorStatus { return microbatch.MirrorStatus(m.Mirror.Status()) }

// bindCopies reads where copies of the log are. The error is ddl.Errors.
func (l *loaded) bindCopies(settings ddl.Values) error {
	if l.Scratch != nil {
		return nil // the copies belong to the pipeline that it is made of
	}
	var problems []error
	for _, name := range []string{ddl.Checkpoint, ddl.Replica} {
		if !settings.Given(name) {
			continue
		}
		at, err := checkpointstore.ParseLocation(settings.String(name))
		if err != nil {
			problems = append(problems, positionedSetting(settings, name, err))
			continue
		}
		l.copies = append(l.copies, at)
	}
	l.copying = settings
	switch {
	case !settings.Given(ddl.Checkpoint) && settings.Given(ddl.Replica):
		problems = append(problems, settings.Errorf(ddl.Replica, "there is a replica and no checkpoint").WithHint("write SET checkpoint = 's3://…', and the second bucket as replica"))
	case len(l.copies) == 2 && l.copies[0] == l.copies[1]:
		problems = append(problems, settings.Errorf(ddl.Replica, "the replica is the checkpoint's own bucket and prefix").WithHint("name another bucket"))
	}
	return ddl.Join(problems...)
}

func positionedSetting(settings ddl.Values, name string, err error) error {
	message, hint, hinted := strings.Cut(err.Error(), "\nHint: ")
	e := settings.Errorf(name, "%s", message)
	if hinted {
		return e.WithHint("%s", hint)
	}
	return e
}

// beside are the directories that are copied with the log.
func (d pipelineDir) beside() []checkpointstore.Directory {
	return []checkpointstore.Directory{{Name: "tables", Path: d.tablesDir(), Suffix: ".ing"}}
}

// mirrors makes what copies the log.
func (l *loaded) mirrors(p place) (out []microbatch.Mirror, err error) {
	for _, at := range l.copies {
		m, err := checkpointstore.New(checkpointstore.Options{Location: at, Pipeline: l.Name, LogDir: p.dir.logDir(), Others: p.dir.beside(),
			Sync: checkpointstore.Sync(l.copying.String(ddl.CheckpointSync)), Interval: l.copying.Duration(ddl.CheckpointInterval),
			MaxLag: l.copying.Duration(ddl.CheckpointMaxLag), MaxLagBytes: l.copying.Bytes(ddl.CheckpointMaxLagBytes), Logger: p.log})
		if err != nil {
			return nil, err
		}
		out = append(out, mirror{m})
	}
	return out, nil
}

func (l *loaded) restoreOptions(p place) checkpointstore.RestoreOptions {
	return checkpointstore.RestoreOptions{Locations: l.copies, Pipeline: l.Name, LogDir: p.dir.logDir(), Others: p.dir.beside(), Logger: p.log, OnBytes: p.restoring}
}

func (l *loaded) restoreCopy(ctx context.Context, p place) error {
	start := time.Now()
	// What is posted meanwhile would go into files that are about to be replaced.
	if err := p.inboxes.remove(l.Name); err != nil {
		return err
	}
	c, err := checkpointstore.Restore(ctx, l.restoreOptions(p))
	if err != nil {
		return fmt.Errorf("look for a copy of the checkpoint log: %w", err)
	}
	if c != nil {
		p.tell("the log was restored from %s: %s up to batch %s, copied at %s, in %s", c.Location, term.Bytes(c.Bytes), term.Count(c.Prepared), instant(c.WrittenAt),
			term.Duration(time.Since(start)))
	}
	return nil
}

// tell says to people what happens before the pipeline runs.
func (p place) tell(format string, args ...any) {
	if p.note != nil {
		p.note(format, args...)
		return
	}
	p.log.Info(fmt.Sprintf(format, args...))
}

// lacks says that a start was refused because the log is not the newest one.
func lacks(err error) (*microbatch.RefusedError, bool) {
	var refused *microbatch.RefusedError
	return refused, errors.As(err, &refused) && (refused.Reason == checkpointlog.ReasonLedgerAhead || refused.Reason == checkpointlog.ReasonLogMissing)
}

// openNewest is open where the log on the disk may be older than a copy of it: an engine on another machine
// went on, and was fenced by the attempt that found out.
func (l *loaded) openNewest(ctx context.Context, p place) (*engine, error) {
	// Why first: a rebuild that was killed while it exchanged the logs has left none in place, and is not a lost disk.
	if err := l.settleRebuild(ctx, p); err != nil {
		return nil, err
	}
	missing := !exists(filepath.Join(p.dir.logDir(), manifestName))
	if missing && len(l.copies) > 0 {
		if err := l.restoreCopy(ctx, p); err != nil {
			return nil, err
		}
	}
	e, err := l.open(ctx, p)
	refused, behind := lacks(err)
	if missing && errors.As(err, &refused) && refused.Reason == checkpointlog.ReasonLedgerMissing {
		return nil, l.beginAnew(refused)
	}
	if !behind || len(l.copies) == 0 {
		return e, err
	}
	copies, findErr := checkpointstore.Find(ctx, l.restoreOptions(p))
	if findErr != nil {
		return nil, errors.Join(err, findErr)
	}
	have := lastPrepared(p.dir.logDir())
	if len(copies) > 0 && copies[0].Prepared > have {
		if err := l.restoreCopy(ctx, p); err != nil {
			return nil, err
		}
		if e, err = l.open(ctx, p); err == nil {
			return e, nil
		}
		if refused, behind = lacks(err); !behind {
			return nil, err
		}
	}
	return nil, l.explain(refused, copies)
}

// explain says what is missing, and that no bucket has it.
func (l *loaded) explain(refused *microbatch.RefusedError, copies []checkpointstore.Copy) error {
	detail := refused.Detail
	for _, at := range l.copies {
		detail += fmt.Sprintf("; %s", at)
		held := " has no copy"
		for _, c := range copies {
			if c.Location == at {
				held = fmt.Sprintf(" has batches up to %d, as of %s", c.Prepared, instant(c.WrittenAt))
			}
		}
		detail += held
	}
	return &microbatch.RefusedError{Reason: refused.Reason, Detail: detail,
		Hint: "put back the disk that has the newest log; if it is lost, what was not uploaded is lost with it, and the tables have to be computed again: " +
			"drop the pipeline and submit it again (SET checkpoint_sync = 'batch' never lets the tables get ahead of the bucket)"}
}

// beginAnew is for who deleted the tables and the log to start over, and left the copy of the log.
func (l *loaded) beginAnew(refused *microbatch.RefusedError) error {
	var where []string
	for _, at := range l.copies {
		where = append(where, at.String()+"/"+l.Name)
	}
	if len(where) == 0 {
		return refused
	}
	return &microbatch.RefusedError{Reason: refused.Reason, Detail: refused.Detail + "; the log is the copy in a bucket",
		Hint: refused.Hint + "; to begin again after the tables were deleted by hand, delete " + strings.Join(where, " and ") + ", too, or name another prefix"}
}

// lastPrepared is the newest batch of a log, 0 if it cannot be read.
func lastPrepared(dir string) int64 { return summarise("", dir).Batch }

// checkCopies looks at the buckets and changes nothing.
func (l *loaded) checkCopies(ctx context.Context, r *checkReport, p place) error {
	for _, at := range l.copies {
		o := l.restoreOptions(p)
		o.Locations = []checkpointstore.Location{at}
		found, err := checkpointstore.Find(ctx, o)
		switch {
		case err != nil:
			return fmt.Errorf("look at the copy of the log: %w", err)
		case len(found) == 0:
			r.add("copy", at.String(), "can be reached, and holds nothing of this pipeline")
		default:
			r.add("copy", at.String(), "holds the log up to batch %d, as of %s", found[0].Prepared, instant(found[0].WrittenAt))
		}
	}
	return nil
}

// copiesOf tells where a pipeline's copies are. The text is only parsed.
func (a *app) copiesOf(s server.Spec, defaults map[string]string) (out []checkpointstore.Location, err error) {
	f, err := ddl.Parse(s.File, []byte(s.SQL), a.env)
	if err != nil {
		return nil, err
	}
	settings := effective(f.Settings(), s.Options.Settings, defaults)
	for _, name := range []string{ddl.Checkpoint, ddl.Replica} {
		text, given := settings.Get(name)
		if !given {
			continue
		}
		at, err := checkpointstore.ParseLocation(text)
		if err != nil {
			return nil, err
		}
		out = append(out, at)
	}
	return out, nil
}

// dropCopies deletes a pipeline's copies, and returns where they were.
func (a *app) dropCopies(ctx context.Context, s server.Spec, defaults map[string]string) (dropped []string, err error) {
	all, err := a.copiesOf(s, defaults)
	if err != nil {
		return nil, err
	}
	for _, at := range all {
		n, err := checkpointstore.Remove(ctx, at, s.Name)
		if err != nil {
			return dropped, err
		}
		if n > 0 {
			dropped = append(dropped, at.String()+"/"+s.Name)
		}
	}
	return dropped, nil
}

// effective puts the command line's settings before the file's, and defaults behind both.
func effective(settings ddl.Options, over, defaults map[string]string) ddl.Options {
	for name, value := range defaults {
		if _, given := settings.Get(name); !given {
			settings = settings.Override(name, value)
		}
	}
	for name, value := range over {
		settings = settings.Override(name, value)
	}
	return settings
}

// copyLine is a copy's state for people.
func copyLine(m microbatch.MirrorStatus) string {
	line := fmt.Sprintf("%s, up to batch %s", m.Location, term.Count(m.Batch))
	if m.Behind > 0 {
		line += fmt.Sprintf(", behind for %s and %s", term.Duration(m.Behind), term.Bytes(m.BehindBytes))
	}
	if m.Waiting {
		line += ", the pipeline waits for it"
	}
	if m.Error != "" {
		line += ", failing for " + term.Duration(time.Since(m.FailingSince))
	}
	return line
}
