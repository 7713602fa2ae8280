package checkpointlog

import (
	"errors"
	"fmt"
	"runtime/debug"
)

var errStopped = errors.New("the reader was stopped")

// ahead has produce make items on a goroutine of its own while consume works through them on the caller's, in
// order; at most depth of them wait. It returns when both have ended: with what consume failed with, which ends
// produce too, else what produce failed with, after consume has had all that came before.
func ahead[T any](depth int, produce func(hand func(T) error) error, consume func(T) error) error {
	items, stop, result := make(chan T, depth), make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(items)
		// Why recover: one pipeline's defect must not end a daemon that runs others.
		defer func() {
			if r := recover(); r != nil {
				result <- fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		result <- produce(func(x T) error {
			select {
			case <-stop:
				return errStopped
			case items <- x:
				return nil
			}
		})
	}()
	// Why deferred: a panic of consume must not leave the goroutine behind, which reads a file that the caller is
	// about to close.
	defer func() {
		for range items {
			continue // until the goroutine has ended
		}
	}()
	defer close(stop)
	for x := range items {
		if err := consume(x); err != nil {
			return err
		}
	}
	return <-result
}
