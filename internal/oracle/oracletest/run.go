package oracletest

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"testing"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
)

// Options say how a pipeline is driven.
type Options struct {
	// Rand makes every choice, so that its seed repeats the run.
	Rand *rand.Rand
	// MaxBatchRows is the largest batch; each start of the engine takes a random size from a quarter of it
	// up. Zero leaves the size to the config.
	MaxBatchRows int64
	// Fail breaks the engine at random failpoints, and loses the staging area now and then, until the
	// input is at its end.
	Fail bool
	// Replay executes the whole log again at the end and wants its digests.
	Replay bool
}

// Run is Drive for a test that ends where Drive fails.
func Run(t testing.TB, cfg microbatch.Config, sink *Sink, o Options) {
	t.Helper()
	if err := Drive(cfg, sink, o); err != nil {
		t.Fatal(err)
	}
}

// Drive runs a pipeline to the end of its input, starting it again after every injected failure. It
// returns the first error that was not injected: a view that differs, or what the engine says itself.
func Drive(cfg microbatch.Config, sink *Sink, o Options) error {
	points := failpoint.Names()
	cfg.UntilEnd = true
	for round := 0; round < 300; round++ {
		if o.MaxBatchRows > 0 {
			cfg.MaxBatchRows = o.MaxBatchRows/4 + o.Rand.Int63n(o.MaxBatchRows*3/4)
		}
		spec := ""
		if o.Fail && o.Rand.Intn(6) != 0 {
			spec = fmt.Sprintf("%s=error:%d", points[o.Rand.Intn(len(points))], 1+o.Rand.Intn(4))
		}
		disarm, err := failpoint.Arm(spec)
		if err != nil {
			return err
		}
		err = once(cfg)
		disarm()
		switch {
		case err == nil && o.Replay:
			return replay(cfg)
		case err == nil:
			return nil
		case !errors.Is(err, failpoint.ErrInjected):
			return fmt.Errorf("start %d, failpoint %q: %w", round, spec, err)
		}
		if o.Rand.Intn(3) == 0 {
			sink.LoseStaged()
		}
	}
	return errors.New("the pipeline does not come to an end")
}

func once(cfg microbatch.Config) (err error) {
	ctx := context.Background()
	p, err := microbatch.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	return p.Run(ctx)
}

// replay executes every logged batch again and wants the digests of the log.
func replay(cfg microbatch.Config) error {
	var problems []error
	report, err := microbatch.Replay(context.Background(), cfg, microbatch.ReplayOptions{OnBatch: func(b microbatch.ReplayBatch) {
		if !b.Match {
			problems = append(problems, fmt.Errorf("replay of batch %d: %q", b.Batch, b.Problems))
		}
	}})
	if err == nil && report.Batches == 0 {
		err = errors.New("replay executed no batch")
	}
	return errors.Join(append(problems, err)...)
}
