package checkpointlog

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sluice-sql/sluice/internal/failpoint"
)

// A pair of points round each durable step: the crash test kills the engine at every one of them.
var (
	fpPlanBeforeWrite    = failpoint.New("log.plan.before_write")
	fpPlanAfterWrite     = failpoint.New("log.plan.after_write")
	fpPrepareBeforeWrite = failpoint.New("log.prepare.before_write")
	fpPrepareAfterWrite  = failpoint.New("log.prepare.after_write") // and before the sync
	fpPrepareAfterSync   = failpoint.New("log.prepare.after_sync")
	fpCommitBeforeWrite  = failpoint.New("log.commit.before_write")
	fpCommitAfterWrite   = failpoint.New("log.commit.after_write")
	fpSyncBefore         = failpoint.New("log.sync.before")
	fpSyncAfter          = failpoint.New("log.sync.after")
)

// Plan records what a batch will read. It is not synced: a plan that is lost belongs to a batch that
// never happened, and Prepare's sync makes the plan durable together with the batch.
func (l *Log) Plan(p Planned) error {
	if err := l.startOwnSegment(); err != nil {
		return err
	}
	body, err := encodeJSON(typePlanned, &p)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if err := l.seq.planned(&p); err != nil {
		return err
	}
	if err := fpPlanBeforeWrite.Hit(); err != nil {
		return l.fail("writing plan", err)
	}
	if err := l.append(typePlanned, verbatim(body)); err != nil {
		return err
	}
	if err := fpPlanAfterWrite.Hit(); err != nil {
		return l.fail("writing plan", err)
	}
	l.planned[p.Batch] = &p
	l.maxBatch = max(l.maxBatch, p.Batch)
	return nil
}

// Prepare makes a planned batch durable: its state change and its digests. When it returns nil the batch
// has happened, and the permit lets the sinks commit it. After an error the batch may or may not have
// happened; the log is poisoned (unless the error is ErrSequence) and opening it again tells.
func (l *Log) Prepare(p Prepared) (CommitPermit, error) {
	tables, err := l.checkDelta(&p)
	if err != nil {
		return CommitPermit{}, err
	}
	start := time.Now()
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.waited(time.Since(start))
	if err := l.appendPrepared(&p, tables); err != nil {
		return CommitPermit{}, err
	}
	if err := l.syncActive("syncing prepared batch", fpPrepareAfterWrite, fpPrepareAfterSync); err != nil {
		return CommitPermit{}, err
	}
	return permitFor(&p), nil
}

// checkDelta returns the delta's tables in writing order.
func (l *Log) checkDelta(p *Prepared) ([]string, error) {
	tables := slices.Sorted(maps.Keys(p.Delta))
	var total int64
	for _, t := range tables {
		if len(t) > maxNameBytes {
			return nil, fmt.Errorf("preparing batch %d: state table name of %d bytes is over the limit of %d", p.Batch, len(t), maxNameBytes)
		}
		total += int64(len(p.Delta[t]))
	}
	if total > l.opt.MaxDeltaBytes {
		return nil, fmt.Errorf("preparing batch %d: its state change of %d bytes is over the limit of %d\nHint: lower max_batch_rows", p.Batch, total, l.opt.MaxDeltaBytes)
	}
	return tables, nil
}

// appendPrepared writes the delta's pieces and then the record that makes them count. syncMu is held.
func (l *Log) appendPrepared(p *Prepared, tables []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if plan := l.planned[p.Batch]; plan == nil || plan.Epoch != p.Epoch {
		return fmt.Errorf("preparing batch %d, which epoch %d has not planned: %w", p.Batch, p.Epoch, ErrSequence)
	}
	next := l.seq
	if err := next.prepared(p); err != nil {
		return err
	}
	if err := l.rotateIfFull(); err != nil {
		return err
	}
	if err := fpPrepareBeforeWrite.Hit(); err != nil {
		return l.fail("writing prepared batch", err)
	}
	body := preparedBody{Prepared: *p}
	for _, table := range tables {
		index, err := l.appendDelta(p.Batch, table, p.Delta[table])
		if err != nil {
			return err
		}
		body.Deltas = append(body.Deltas, index)
	}
	record, err := encodeJSON(typePrepared, &body)
	if err != nil {
		return l.fail("writing prepared batch", err) // the pieces are written already
	}
	if err := l.append(typePrepared, verbatim(record)); err != nil {
		return err
	}
	l.seq = next
	l.maxBatch = max(l.maxBatch, p.Batch)
	l.remember(p)
	return nil
}

// remember keeps what snapshots and later plans need of a prepared batch.
func (l *Log) remember(p *Prepared) {
	meta := *p
	meta.Delta = nil
	l.recent[p.Batch] = &meta
	delete(l.recent, p.Batch-2)
	maps.DeleteFunc(l.planned, func(batch int64, _ *Planned) bool { return batch <= p.Batch })
}

// appendDelta writes one table's change in pieces, so that a large one needs no second copy in memory.
func (l *Log) appendDelta(batch int64, table string, delta []byte) (deltaIndex, error) {
	index := deltaIndex{Table: table, Bytes: int64(len(delta))}
	start := l.active.size
	for rest := delta; index.Pieces == 0 || len(rest) > 0; index.Pieces++ {
		piece := rest[:min(len(rest), deltaPieceBytes)]
		rest = rest[len(piece):]
		err := l.append(typeDelta, func(dst []byte) []byte {
			return appendBlock(dst, batch, index.Bytes, table, piece)
		})
		if err != nil {
			return index, err
		}
	}
	index.Stored = l.active.size - start
	return index, nil
}

// Commit records that the sinks have a batch. It becomes durable with the next sync; if it is lost, the
// ledger says the same.
func (l *Log) Commit(c Committed) error {
	body, err := encodeJSON(typeCommitted, &c)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	next := l.seq
	if err := next.committed(&c); err != nil {
		return err
	}
	if err := fpCommitBeforeWrite.Hit(); err != nil {
		return l.fail("writing commit", err)
	}
	if err := l.append(typeCommitted, verbatim(body)); err != nil {
		return err
	}
	if err := fpCommitAfterWrite.Hit(); err != nil {
		return l.fail("writing commit", err)
	}
	l.seq = next
	return nil
}

// Sync makes everything appended durable.
func (l *Log) Sync() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	err := l.usable()
	clean := err == nil && l.active.synced == l.active.size
	l.mu.Unlock()
	if err != nil || clean {
		return err
	}
	return l.syncActive("syncing checkpoint log", fpSyncBefore, fpSyncAfter)
}

// append writes one frame to the active segment; mu is held.
func (l *Log) append(typ frameType, body func([]byte) []byte) error {
	before := l.active.size
	if err := l.active.append(typ, body); err != nil {
		return l.fail(fmt.Sprintf("writing %v record", typ), err)
	}
	l.appendedBytes.Add(l.active.size - before)
	return nil
}

// syncActive syncs the active segment between two failpoints; syncMu is held and mu is not, so that
// records can be appended meanwhile: only the bytes written before are counted as durable.
func (l *Log) syncActive(doing string, before, after *failpoint.Point) error {
	l.mu.Lock()
	w, size, prepared := l.active, l.active.size, l.seq.Prepared
	l.mu.Unlock()
	start := time.Now()
	err := before.Hit()
	if err == nil {
		err = w.file.Sync()
	}
	took := time.Since(start)
	if err == nil {
		err = after.Hit()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		return l.fail(doing, err)
	}
	w.synced, l.durable = size, prepared
	l.stats.Syncs++
	l.stats.SyncFor += took
	return nil
}
