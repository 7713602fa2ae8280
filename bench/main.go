// Command bench measures what continuity costs: the engine over a file of Nexmark bids into PostgreSQL,
// exactly once, against one-shot DuckDB answering the same SELECT over the same file.
//
//	make bench            # 2 million bids, median of 5 runs
//	go run ./bench -rows 200000 -runs 1 -sluice bin/sluice
//
// The engine is the real binary in a process of its own, on a private PostgreSQL with its default
// settings, durable writes included. The two sides take turns, so that a noisy neighbour hits both. Every
// answer is compared with DuckDB's before its time counts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sluice-sql/sluice/internal/pgcluster"
)

type options struct {
	rows   int64
	runs   int
	sluice string
	cache  string
	out    string
	// part is what to measure: "bids", "nexmark", "scale", "checkpoint", "http", "cdc", "kafka", or "all".
	part string
	// only, if not empty, picks Nexmark queries by name (q1,q5), the scale cases that contain it, "pair" or "restart"
	// of the checkpoint part, or "throughput" or "latency" of the Kafka part.
	only string
	// noPostgres leaves PostgreSQL out of the Nexmark part.
	noPostgres bool
	// flights is the whole flights data set; empty leaves it out.
	flights string
}

func main() {
	var o options
	flag.Int64Var(&o.rows, "rows", 2_000_000, "bids in the input")
	flag.IntVar(&o.runs, "runs", 5, "runs of each measurement; the median counts")
	flag.StringVar(&o.sluice, "sluice", "bin/sluice", "the binary to measure")
	flag.StringVar(&o.cache, "cache", ".cache", "where the input is kept between runs")
	flag.StringVar(&o.flights, "flights", "", "the whole flights data set, as testdata/flights.sh gets it")
	flag.StringVar(&o.out, "out", "", "also write the table to this file")
	flag.StringVar(&o.part, "part", "all", `what to measure: "bids", "nexmark", "scale", "checkpoint", "http", "cdc", "kafka" or "all"`)
	flag.StringVar(&o.only, "only", "", "only these Nexmark queries (q1,q5), the scale cases that contain this, \"pair\" or \"restart\" of the checkpoint part, or \"throughput\" or \"latency\" of the Kafka part")
	flag.BoolVar(&o.noPostgres, "no-postgres", false, "leave PostgreSQL out of the Nexmark part")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (o options) run(ctx context.Context) (err error) {
	if o.runs < 1 || o.rows < 1 {
		return errors.New("-runs and -rows must be positive")
	}
	if o.cache, err = filepath.Abs(o.cache); err != nil {
		return err
	}
	if o.flights != "" {
		if o.flights, err = filepath.Abs(o.flights); err != nil {
			return err
		}
	}
	file, err := makeNexmark(o.cache, "bid", o.rows)
	if err != nil {
		return fmt.Errorf("generate the input: %w", err)
	}
	work, err := os.MkdirTemp(o.cache, "bench-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeState(work)) }()
	// As root, PostgreSQL runs as another user and must get in.
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	pg, err := pgcluster.Start(ctx, work)
	if err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, pg.Stop(context.WithoutCancel(ctx))) }()

	b := &bench{options: o, work: work, postgres: pg.URL(), server: pg.PID()}
	var w strings.Builder
	if o.part == "all" || o.part == "bids" {
		b.plan(bids(file, o.rows))
		if err := b.measure(ctx); err != nil {
			return err
		}
		w.WriteString(b.report())
	}
	if o.part == "all" || o.part == "nexmark" {
		results, err := b.nexmark(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(&w, "\nNexmark, %s events as NDJSON, batches of %s rows, medians of %d runs.\n\n", thousands(o.rows), thousands(nexmarkBatch), o.runs)
		reportNexmark(&w, results)
	}
	if o.part == "all" || o.part == "scale" {
		results, err := b.scale(ctx, []int64{o.rows / 20, o.rows * 5})
		if err != nil {
			return err
		}
		w.WriteString("\n")
		reportScale(&w, results)
	}
	if o.part == "all" || o.part == "checkpoint" {
		pair, restarts, err := b.checkpoint(ctx)
		if err != nil {
			return err
		}
		w.WriteString("\n")
		reportCheckpoint(&w, pair, restarts)
	}
	if o.part == "all" || o.part == "http" {
		results, err := b.posted(ctx)
		if err != nil {
			return err
		}
		w.WriteString("\n")
		reportPosted(&w, results)
	}
	if o.part == "all" || o.part == "cdc" {
		results, err := b.captured(ctx)
		if err != nil {
			return err
		}
		w.WriteString("\n")
		reportCaptured(&w, results)
	}
	if o.part == "all" || o.part == "kafka" {
		w.WriteString("\n")
		lib, err := kafkaLib(ctx)
		switch {
		case err != nil && o.part == "all":
			fmt.Fprintln(os.Stderr, "bench: without the Kafka part:", err)
			fmt.Fprintln(&w, "The Kafka part is left out: no broker can be run here.")
		case err != nil:
			return err
		default:
			if err := b.kafka(ctx, &w, lib, file); err != nil {
				return err
			}
		}
	}
	report := w.String()
	fmt.Print("\n", report)
	if o.out != "" {
		return os.WriteFile(o.out, []byte(report), 0o644)
	}
	return nil
}

// removeState removes a state directory with its cluster, which may lie elsewhere behind a link (see
// internal/pgcluster/owner.go).
func removeState(dir string) error {
	link := filepath.Join(dir, "postgres")
	if target, err := os.Readlink(link); err == nil {
		if err := os.RemoveAll(target); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}
