package duck

import (
	"context"
	"time"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

const interruptAgain = 5 * time.Millisecond

// interruptOn interrupts whatever the connection runs once ctx ends, until stop is called. After stop
// returns, the connection is not touched any more.
//
// Why again and again: an interrupt that arrives before the statement has started is forgotten.
func (c *Conn) interruptOn(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	quit, gone := make(chan struct{}), make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(gone)
		tick := time.NewTicker(interruptAgain)
		defer tick.Stop()
		for {
			mapping.Interrupt(c.h)
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		if cancel() {
			return
		}
		close(quit)
		<-gone
	}
}
