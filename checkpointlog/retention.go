package checkpointlog

import (
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-sql/sluice/internal/failpoint"
)

var fpRetentionBeforeDelete = failpoint.New("retention.before_delete")

// addSnapshot puts a complete snapshot into the manifest, takes out what retention lets go, and returns
// the files that are dead now.
//
// Invariant: the log is durable up to the snapshot's Committed before the manifest names the snapshot,
// so no snapshot is ever ahead of its log.
func (l *Log) addSnapshot(ref snapshotRef, absorbed []snapshotRef) (dead []string, err error) {
	if err := l.syncForSnapshot(); err != nil {
		return nil, err
	}
	l.manifestMu.Lock()
	defer l.manifestMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	m := l.manifest.clone()
	for _, old := range absorbed {
		m.Snapshots = slices.DeleteFunc(m.Snapshots, func(r snapshotRef) bool { return r.Batch == old.Batch })
		dead = append(dead, snapshotName(old.Batch))
	}
	m.Snapshots = append(m.Snapshots, ref)
	dead = append(dead, m.retain(l.opt.KeepSnapshots, ref.At.Add(-l.opt.KeepSnapshotsFor), l.pinned(ref.Batch))...)
	if err := l.unlocked(func() error { return writeManifest(l.fs, l.dir, m) }); err != nil {
		return nil, l.fail("publishing snapshot", err)
	}
	l.manifest = m
	return dead, nil
}

// syncForSnapshot makes the log durable up to its end.
func (l *Log) syncForSnapshot() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	w, size := l.active, l.active.size
	if w.synced < size {
		if err := l.unlocked(w.file.Sync); err != nil {
			return l.fail("syncing checkpoint log", err)
		}
		w.synced = max(w.synced, size)
	}
	return nil
}

// unlocked runs fn without mu, so that batches are planned and committed while it waits for the disk. Either syncMu
// is held, so that nothing else replaces the active segment, or manifestMu, so that nothing else replaces the
// manifest; batches are prepared meanwhile.
func (l *Log) unlocked(fn func() error) error {
	l.mu.Unlock()
	defer l.mu.Lock()
	return fn()
}

// retain drops the oldest chains of snapshots beyond the newest keep, unless one has a snapshot from after
// since; and segments that only the dropped ones needed: those whose every record is about a batch that the
// last snapshot of the oldest kept chain includes, and none after the pinned batch. It returns their names.
//
// Why it counts chains: the snapshots of one share a file, and what is kept for the case that a file is
// damaged must not need that file. Why nothing of the log goes before there are keep of them: its beginning
// stands in for the ones missing, so that a damaged snapshot never costs the state.
func (m *manifest) retain(keep int, since time.Time, pinned int64) (dead []string) {
	chains := m.chains()
	for len(chains) > keep && !chains[0][len(chains[0])-1].At.After(since) {
		for _, s := range chains[0] {
			dead = append(dead, snapshotName(s.Batch))
		}
		m.Snapshots = m.Snapshots[len(chains[0]):]
		chains = chains[1:]
	}
	if len(chains) < keep {
		return dead
	}
	oldest := min(chains[0][len(chains[0])-1].Batch, pinned)
	for len(m.Segments) > 1 && m.Segments[0].MaxBatch <= oldest {
		dead = append(dead, segmentName(m.Segments[0].Seq))
		m.Segments = m.Segments[1:]
	}
	return dead
}

// chains divides the snapshots, each chain beginning with a full one.
func (m *manifest) chains() (chains [][]snapshotRef) {
	for i := len(m.Snapshots); i > 0; {
		from := m.chainStart(i - 1)
		chains = append(chains, m.Snapshots[from:i])
		i = from
	}
	slices.Reverse(chains)
	return chains
}

// deleteDead deletes files that the manifest no longer names. A failure only costs space: the next Open
// tries again.
func (l *Log) deleteDead(names []string) {
	for _, name := range names {
		err := fpRetentionBeforeDelete.Hit()
		if err == nil {
			err = l.fs.Remove(filepath.Join(l.dir, name))
		}
		if err != nil {
			l.mu.Lock()
			l.stats.DeleteFailures++
			l.mu.Unlock()
		}
	}
}
