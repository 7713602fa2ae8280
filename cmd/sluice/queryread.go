package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/oracle"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// read loads every source to its end, and says what of it could not be read. It returns the rows read.
func (o *queryOptions) read(ctx context.Context, l *loaded, one *oracle.OneShot) (n int64, err error) {
	scratch, err := os.MkdirTemp("", "sluice-query-*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	sources, err := l.openSources(ctx, purpose{kind: toAnswer, dir: pipelineDir(scratch), url: o.postgresURL(""), log: o.log})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, closeSources(sources)) }()
	line := term.NewProgress(o.streams.Err)
	defer line.Done()
	r := &queryReader{one: one, at: time.Now(), limits: microbatch.Limits{MaxRows: l.settings.Int(ddl.MaxBatchRows), MaxBytes: l.settings.Bytes(ddl.MaxBatchBytes)},
		read: func(rows int64) {
			if n += rows; o.streams.Err.IsTTY() {
				line.Update(term.Snapshot{Phase: "reading", Rows: n})
			}
		}}
	var problems strings.Builder
	for _, b := range l.sources {
		bad, err := r.drain(ctx, b.Name, sources[b.Name])
		if err != nil {
			return n, fmt.Errorf("read source %q: %w", b.Name, err)
		}
		bad.describe(&problems, b.Name)
	}
	line.Done() // What follows must not be erased with the live line.
	_, err = o.streams.Err.Write([]byte(problems.String()))
	return n, err
}

// A queryReader loads sources in steps that fit in memory.
type queryReader struct {
	one    *oracle.OneShot
	at     time.Time // what batch_time columns hold
	limits microbatch.Limits
	read   func(rows int64)
}

// pollInterval is how often a bounded source that gives rows by the clock is asked for more.
const pollInterval = 20 * time.Millisecond

func (r *queryReader) drain(ctx context.Context, name string, source microbatch.Source) (bad unreadable, err error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	step := &microbatch.Rows{}
	for !step.Done {
		if err := ctx.Err(); err != nil {
			return bad, err
		}
		if step, err = source.Poll(ctx, step.To, r.limits); err != nil {
			return bad, err
		}
		if err := r.one.Load(ctx, name, microbatch.FillBatchTime(r.one.Input(name), step.Chunks, r.at)); err != nil {
			return bad, err
		}
		bad.add(step.Bad)
		r.read(step.Count + int64(len(step.Bad)))
		if step.Count == 0 && len(step.Bad) == 0 && !step.More && !step.Done {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}
	return bad, nil
}

// maxReasons is how many unreadable rows of a source are described; the others are counted.
const maxReasons = 3

// unreadable are the rows of a source that were left out.
type unreadable struct {
	count int64
	first []microbatch.BadRow
}

func (u *unreadable) add(rows []microbatch.BadRow) {
	u.count += int64(len(rows))
	u.first = append(u.first, rows[:min(len(rows), maxReasons-len(u.first))]...)
}

func (u *unreadable) describe(w *strings.Builder, source string) {
	if u.count == 0 {
		return
	}
	fmt.Fprintf(w, "source %s: %s of its rows cannot be read and were left out:\n", source, term.Count(u.count))
	for _, b := range u.first {
		fmt.Fprintf(w, "  %s:%d: %s\n", term.Visible(b.Partition), b.Offset, term.Visible(b.Reason))
	}
	if more := u.count - int64(len(u.first)); more > 0 {
		fmt.Fprintf(w, "  … and %s more\n", term.Count(more))
	}
}
