package microbatch

import (
	"context"
	"errors"
)

// Owned is a Sink that knows, between batches too, whether the pipeline is still this engine's.
type Owned interface {
	// Lost delivers one error when the pipeline is this engine's no more, which wraps ErrFenced if another engine has
	// taken it over, or nil when the sink is closed. It may be nil itself.
	Lost() <-chan error
}

// lostError is what a sink's Lost delivered.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// owned is a context that ends when any sink says that the pipeline is lost, so that an engine which was taken over
// stops at once and not at its next commit. settle gives the run's error, or that loss as its cause.
func (p *Pipeline) owned(ctx context.Context) (_ context.Context, settle func(error) error) {
	ctx, cancel := context.WithCancelCause(ctx)
	for _, s := range p.sinks {
		o, ok := s.Sink.(Owned)
		if !ok {
			continue
		}
		lost := o.Lost()
		if lost == nil {
			continue
		}
		go func() {
			select {
			case err := <-lost:
				if err != nil {
					cancel(lostError{err})
				}
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func(err error) error {
		defer cancel(nil)
		var lost lostError
		if err != nil && errors.As(context.Cause(ctx), &lost) && !errors.Is(err, ErrFenced) {
			return lost.error
		}
		return err
	}
}
