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

// Run drives a pipeline to the end of its input, starting it again after every injected failure.
func Run(t testing.TB, cfg microbatch.Config, sink *Sink, o Options) {
	t.Helper()
	points := failpoint.Names()
	cfg.UntilEnd = true
	for round := 0; ; round++ {
		if o.MaxBatchRows > 0 {
			cfg.MaxBatchRows = o.MaxBatchRows/4 + o.Rand.Int63n(o.MaxBatchRows*3/4)
		}
		spec := ""
		if o.Fail && o.Rand.Intn(6) != 0 {
			spec = fmt.Sprintf("%s=error:%d", points[o.Rand.Intn(len(points))], 1+o.Rand.Intn(4))
		}
		disarm, err := failpoint.Arm(spec)
		if err != nil {
			t.Fatal(err)
		}
		err = once(cfg)
		disarm()
		switch {
		case err == nil:
			if o.Replay {
				replay(t, cfg)
			}
			return
		case !errors.Is(err, failpoint.ErrInjected):
			t.Fatalf("start %d, failpoint %q: %v", round, spec, err)
		case round > 300:
			t.Fatal("the pipeline does not come to an end")
		}
		if o.Rand.Intn(3) == 0 {
			sink.LoseStaged()
		}
	}
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

func replay(t testing.TB, cfg microbatch.Config) {
	t.Helper()
	report, err := microbatch.Replay(context.Background(), cfg, microbatch.ReplayOptions{OnBatch: func(b microbatch.ReplayBatch) {
		if !b.Match {
			t.Errorf("replay of batch %d: %q", b.Batch, b.Problems)
		}
	}})
	if err != nil || report.Batches == 0 {
		t.Fatalf("replay: %+v, %v", report, err)
	}
}
