package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/microbatch"
)

// A runView shows a running pipeline on stderr: a live line on a terminal, plain lines elsewhere. What is
// written to it, log lines included, goes above the line.
type runView struct {
	app  *app
	l    *loaded
	p    place
	line *term.Progress
	once sync.Once
}

func newRunView(a *app, l *loaded, p place) *runView {
	v := &runView{app: a, l: l, p: p, line: term.NewProgress(a.streams.Err)}
	a.logOut.to(v.line)
	return v
}

// Write prints whole lines above the live one.
func (v *runView) Write(b []byte) (int, error) { return v.line.Write(b) }

// note prints a line for people.
func (v *runView) note(format string, args ...any) {
	text := v.app.streams.Err.Styled(term.Dim, fmt.Sprintf(format, args...))
	fmt.Fprintln(v.line, text)
}

// restoring shows how much of the log is back.
func (v *runView) restoring(done, total int64) {
	if v.app.streams.Err.IsTTY() {
		v.line.Update(term.Snapshot{Phase: "restoring the log", Done: done, Total: total})
	}
}

// close ends the live line.
func (v *runView) close() {
	v.once.Do(func() {
		v.line.Done()
		v.app.logOut.to(v.app.streams.Err)
	})
}

// interval is how often progress is worth asking for.
func (v *runView) interval() time.Duration {
	if v.app.streams.Err.IsTTY() {
		return 100 * time.Millisecond
	}
	return time.Second
}

// opened says what begins.
func (v *runView) opened(e *engine) {
	for _, w := range e.warnings {
		v.note("warning: %s", w)
	}
	p := e.Progress()
	if p.Batch > 0 {
		v.note("pipeline %s goes on after batch %s, epoch %d", v.l.Name, term.Count(p.Batch), p.Epoch)
	}
	for _, at := range v.p.inboxes.reached(v.l) {
		v.note("post rows to: %s", at)
	}
	if v.p.db != nil {
		if cmd := v.p.db.psqlNow(); cmd != "" && !v.l.UntilEnd {
			v.note("read it with: %s", cmd)
		}
	}
}

func (v *runView) update(p microbatch.Progress) {
	s := term.Snapshot{Batch: p.Batch, Rows: p.RowsIn + p.RowsLate + p.RowsBad, CommittedAt: p.CommittedAt, Watermark: p.Watermark}
	switch {
	case !v.l.UntilEnd:
		if !p.Watermark.IsZero() {
			s.Lag, s.HasLag = max(time.Since(p.Watermark), 0), true
		}
	case p.RemainingBytes > 0 || p.RemainingBytes == 0 && p.BytesIn > 0:
		s.Done, s.Total = p.BytesIn, p.BytesIn+p.RemainingBytes
	case p.RemainingRows >= 0:
		s.Done, s.Total = s.Rows, s.Rows+p.RemainingRows
	}
	v.line.Update(s)
}

// summary says what was done and how to look at it.
func (o *runOptions) summary(l *loaded, p place, at microbatch.Progress, end error) error {
	s := runSummary{Progress: at, End: "end of input", ElapsedMS: time.Since(at.StartedAt).Milliseconds(), Tables: l.tables(), Files: l.globs(), Topics: l.topics(), Psql: o.psqlLater(l, p)}
	if end != nil {
		s.End = "interrupted"
	}
	if o.json {
		return o.writeJSON(s)
	}
	w := o.streams.Err
	if !l.durable() {
		if at.RowsLate+at.RowsBad > 0 { // The rows were the result; these are not among them.
			fmt.Fprintf(w, "%s: %s late and %s unreadable rows were left out\n", l.Name, term.Count(at.RowsLate), term.Count(at.RowsBad))
		}
		if at.RowsWaiting > 0 {
			fmt.Fprintf(w, "%s: %s rows wait for the watermark to close their window\n", l.Name, term.Count(at.RowsWaiting))
		}
		return nil
	}
	elapsed := time.Since(at.StartedAt)
	rows := at.RowsIn + at.RowsLate + at.RowsBad
	fmt.Fprintf(w, "%s: %s, %s rows in %s (%s rows/s), committed up to batch %s\n", l.Name, s.End, term.Count(rows),
		term.Duration(elapsed), term.Rate(float64(rows)/max(elapsed.Seconds(), 1e-3)), term.Count(at.Batch))
	if at.RowsLate+at.RowsBad > 0 {
		fmt.Fprintf(w, "  not counted: %s late and %s unreadable rows, which are in %s\n", term.Count(at.RowsLate), term.Count(at.RowsBad), l.whereLetters())
	}
	if at.RowsFuture > 0 {
		fmt.Fprintf(w, "  in the far future: %s rows, which did not move the watermark (option max_future)\n", term.Count(at.RowsFuture))
	}
	if at.RowsWaiting > 0 {
		fmt.Fprintf(w, "  waiting: %s rows of windows that the watermark has not closed\n", term.Count(at.RowsWaiting))
	}
	if len(s.Tables) > 0 {
		fmt.Fprintf(w, "  tables: %s\n  look:   %s\n", strings.Join(s.Tables, ", "), s.Psql)
	}
	for _, m := range at.Mirrors {
		fmt.Fprintf(w, "  copy:   %s\n", copyLine(m))
	}
	for _, glob := range s.Files {
		fmt.Fprintf(w, "  files:  %s\n", o.relative(glob))
	}
	if len(s.Topics) > 0 {
		fmt.Fprintf(w, "  topics: %s\n", strings.Join(s.Topics, ", "))
	}
	fmt.Fprintf(w, "  prove:  %s\n", "sluice verify "+o.again(l))
	return nil
}

// relative shortens a path below the working directory.
func (o *runOptions) relative(path string) string {
	if dir, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
			return rel
		}
	}
	return path
}

// again is the pipeline's name with the flags that find it.
func (o *runOptions) again(l *loaded) string {
	if o.state == "" {
		return l.Name
	}
	return l.Name + " --state-dir " + shellQuote(o.state)
}

// psqlLater is the command to read the tables when this process has ended, and the embedded cluster with it.
func (o *runOptions) psqlLater(l *loaded, p place) string {
	if p.db == nil {
		return ""
	}
	if now := p.db.psqlNow(); p.db.cluster == nil && now != "" {
		return now
	}
	return "sluice psql " + o.again(l)
}
