package microbatch

// readAhead reads one batch's rows on another goroutine while the batch before is executed.
//
// Invariant: never more than one batch ahead, so that memory is bounded by three batches' rows: the one
// read, the one executed and the one being committed.
type readAhead struct {
	result chan readResult // nil when nothing is being read
}

type readResult struct {
	b   *batch
	err error
}

func (r *readAhead) start(read func() (*batch, error)) {
	out := make(chan readResult, 1)
	r.result = out
	go func() {
		b, err := read()
		out <- readResult{b, err}
	}()
}

// take returns what was read ahead, or reads now.
func (r *readAhead) take(read func() (*batch, error)) (*batch, error) {
	if r.result == nil {
		return read()
	}
	got := <-r.result
	r.result = nil
	return got.b, got.err
}

// drop waits for a read in flight and forgets it: its rows were never planned.
func (r *readAhead) drop() {
	if r.result != nil {
		<-r.result
		r.result = nil
	}
}
