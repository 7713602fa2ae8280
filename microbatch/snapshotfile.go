package microbatch

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
)

// stateBlock is an encoded part of a state table.
type stateBlock struct {
	state string
	bytes []byte
}

// snapshotFile writes a snapshot on a goroutine of its own. The pipeline's goroutine hands it blocks and never
// waits for it: when the disk is slower than the encoding, the encoding pauses.
type snapshotFile struct {
	w        *checkpointlog.SnapshotWriter
	blocks   chan stateBlock
	free     chan []byte
	abort    chan struct{}
	result   chan error
	finished bool
	busy     time.Duration // of the goroutine; read it when that has ended
}

// queuedBlocks bounds what waits for the disk: a mebibyte or so each.
const queuedBlocks = 8

var errAbandoned = errors.New("the snapshot was abandoned")

func openSnapshotFile(w *checkpointlog.SnapshotWriter) *snapshotFile {
	f := &snapshotFile{w: w, blocks: make(chan stateBlock, queuedBlocks), free: make(chan []byte, queuedBlocks+1),
		abort: make(chan struct{}), result: make(chan error, 1)}
	go func() {
		// Why recover: one pipeline's defect must not end a daemon that runs others.
		defer func() {
			if r := recover(); r != nil {
				f.result <- fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		defer w.Abort()
		f.result <- f.write()
	}()
	return f
}

// write is the goroutine: all blocks, then the publication.
func (f *snapshotFile) write() error {
	for b := range f.blocks {
		if f.aborted() {
			return errAbandoned
		}
		start := time.Now()
		if err := f.w.Block(b.state, b.bytes); err != nil {
			return fmt.Errorf("write state %s: %w", b.state, err)
		}
		f.busy += time.Since(start)
		f.recycle(b.bytes)
	}
	if f.aborted() {
		return errAbandoned
	}
	return f.w.Publish()
}

func (f *snapshotFile) aborted() bool {
	select {
	case <-f.abort:
		return true
	default:
		return false
	}
}

// buffer returns memory for a block.
func (f *snapshotFile) buffer() []byte {
	select {
	case b := <-f.free:
		return b[:0]
	default:
		return nil
	}
}

func (f *snapshotFile) recycle(b []byte) {
	select {
	case f.free <- b:
	default:
	}
}

// offer hands a block over, unless the writer has enough.
func (f *snapshotFile) offer(b stateBlock) bool {
	select {
	case f.blocks <- b:
		return true
	default:
		return false
	}
}

// finish says that all blocks were handed over.
func (f *snapshotFile) finish() {
	if !f.finished {
		f.finished = true
		close(f.blocks)
	}
}

// ended says whether the snapshot is published, or why it will not be.
func (f *snapshotFile) ended() (bool, error) {
	select {
	case err := <-f.result:
		f.result <- err // for close
		return err == nil, err
	default:
		return false, nil
	}
}

// close waits for the goroutine to end: published, if it had been given everything, or given up.
func (f *snapshotFile) close() error {
	if !f.finished {
		close(f.abort)
		f.finish()
	}
	return <-f.result
}
