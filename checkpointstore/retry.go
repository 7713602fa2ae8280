package checkpointstore

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is how long to wait before the next try: twice as long each time, up to a limit, and never the
// same for two mirrors that failed together.
type backoff struct {
	max   time.Duration
	tries int
}

const firstWait = 100 * time.Millisecond

func (b *backoff) next() time.Duration {
	d := min(firstWait<<min(b.tries, 20), b.max)
	b.tries++
	return d/2 + rand.N(d/2+1)
}

func (b *backoff) reset() { b.tries = 0 }

// wait reports false when the context ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retrying tries a request that must succeed before the start goes on, a few times.
func retrying(ctx context.Context, maxWait time.Duration, try func() error) error {
	b := backoff{max: maxWait}
	for {
		err := try()
		if err == nil || refused(err) || missing(err) || b.tries >= maxTries || !wait(ctx, b.next()) {
			return err
		}
	}
}

const maxTries = 6
