package server

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// Fault says what a pipeline's failure means for its next start.
type Fault int

const (
	// Unknown failures are tried again a few times: maxTries in a row without a batch between them.
	Unknown Fault = iota
	// Transient ones lie outside (a database or a source is away) and are tried until they pass.
	Transient
	// Permanent ones would only repeat.
	Permanent
)

// Classify knows the engine's own errors.
func Classify(err error) Fault {
	var (
		refused *microbatch.RefusedError
		corrupt *checkpointlog.CorruptError
		sql     ddl.Errors
		one     *ddl.Error
	)
	switch {
	case errors.Is(err, microbatch.ErrFenced), errors.Is(err, microbatch.ErrRangeChanged), errors.Is(err, checkpointlog.ErrVersion),
		errors.As(err, &refused), errors.As(err, &corrupt), errors.As(err, &sql), errors.As(err, &one), errors.Is(err, errPanicked):
		return Permanent
	case errors.Is(err, context.DeadlineExceeded):
		return Transient
	}
	return Unknown
}

// errPanicked marks a defect of the engine. What it left in memory cannot be trusted, so its pipeline is not
// tried again in this process.
var errPanicked = errors.New("the engine met a state that should be impossible")

const (
	firstBackoff = time.Second
	maxBackoff   = time.Minute
	// maxTries is how often in a row a pipeline is started again after failures of unknown kind.
	maxTries = 5
)

// backoff is the time before the n-th start again, n from 1: doubled each time, and shortened by up to a
// fifth so that pipelines that lost the same database do not come back in step.
func backoff(n int) time.Duration {
	d := maxBackoff
	if n < 8 { // 2^7 seconds is past the maximum
		d = min(maxBackoff, firstBackoff<<(n-1))
	}
	return d - rand.N(d/5)
}

// attempt is how one start of a pipeline ended.
type attempt struct {
	err error
	// halted: a stop was asked for, by the user or by the daemon's shutdown.
	halted bool
	fault  Fault
	// tries counts failures in a row, this one included, without a batch committed between them.
	tries int
}

// next is the state that follows; restarting means: after a backoff, start again.
func (a attempt) next() State {
	switch {
	case a.halted:
		return Stopped
	case a.err == nil:
		return Finished
	case a.fault == Permanent, a.fault == Unknown && a.tries > maxTries:
		return Failed
	}
	return Restarting
}
