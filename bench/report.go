package main

import (
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/duck"
)

// report writes the results as Markdown, for docs/benchmarks.md.
func (b *bench) report() string {
	var w strings.Builder
	fmt.Fprintf(&w, "Commit %s, %s, %s on %d cores, DuckDB %s, %s bids as NDJSON, medians of %d runs (least to most).\n\n",
		commit(), time.Now().UTC().Format("2006-01-02"), runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), duck.Version(), thousands(b.rows), b.runs)
	fmt.Fprintln(&w, "| what | seconds | rows/s | of one-shot, 2 threads | of one-shot, 1 thread |")
	fmt.Fprintln(&w, "|---|---|---|---|---|")
	for _, q := range b.queries {
		for _, threads := range []int{2, 1} {
			times := b.shots[shot{q.name, threads}]
			fmt.Fprintf(&w, "| one-shot DuckDB, %d thread%s: %s | %s | %s | | |\n", threads, plural(threads), q.name, spread(times), rate(q.input.rows, median(times)))
		}
	}
	for _, v := range b.variants {
		times := b.times(v)
		m := median(times)
		fmt.Fprintf(&w, "| sluice: %s | %s | %s | %s | %s |\n", v.name(), spread(times), rate(v.input.rows, m), b.ratio(v, 2, m), b.ratio(v, 1, m))
	}
	b.reportStages(&w)
	goal := b.variants[0]
	ratio := median(b.shots[shot{goal.query.name, 2}]).Seconds() / median(b.times(goal)).Seconds()
	verdict := "reached"
	if ratio < 1.0/3 {
		verdict = "missed"
	}
	fmt.Fprintf(&w, "\nGoal, at least a third of one-shot DuckDB's rate with all its threads: %s (%.2f).\n", verdict, ratio)
	return w.String()
}

// reportStages says where the time goes.
func (b *bench) reportStages(w *strings.Builder) {
	fmt.Fprintf(w, "\nWhere the time goes, in seconds summed over the batches of the median run (`sluice.batches`; stages of\nneighbouring batches overlap):\n\n")
	fmt.Fprintln(w, "| variant | batches | read | execute | stage | prepare | apply | took | process |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|")
	for _, v := range b.variants {
		if v.stdout {
			continue
		}
		runs := b.engines[v.name()]
		m := median(b.times(v))
		r := runs[slices.IndexFunc(runs, func(r engineRun) bool { return r.took == m })]
		s := r.stages
		fmt.Fprintf(w, "| %s | %d | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f |\n", v.name(), s.batches, s.read.Seconds(), s.execute.Seconds(),
			s.stage.Seconds(), s.prepare.Seconds(), s.apply.Seconds(), r.took.Seconds(), r.wall.Seconds())
	}
}

func (b *bench) times(v variant) (times []time.Duration) {
	for _, r := range b.engines[v.name()] {
		times = append(times, r.took)
	}
	return times
}

func (b *bench) ratio(v variant, threads int, took time.Duration) string {
	return fmt.Sprintf("%.2f", median(b.shots[shot{v.query.name, threads}]).Seconds()/took.Seconds())
}

func spread(d []time.Duration) string {
	return fmt.Sprintf("%.2f (%.2f to %.2f)", median(d).Seconds(), slices.Min(d).Seconds(), slices.Max(d).Seconds())
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// commit is what is measured, with a mark if files were changed since.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
