package checkpointlog

import (
	"path/filepath"

	"github.com/sluice-sql/sluice/internal/failpoint"
)

var fpRetentionBeforeDelete = failpoint.New("retention.before_delete")

// addSnapshot puts a complete snapshot into the manifest, takes out what retention lets go, and returns
// the files that are dead now.
//
// Invariant: the log is durable up to the snapshot's Committed before the manifest names the snapshot,
// so no snapshot is ever ahead of its log.
func (l *Log) addSnapshot(ref snapshotRef) (dead []string, err error) {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	if l.active.synced < l.active.size {
		if err := l.active.sync(); err != nil {
			return nil, l.fail("syncing checkpoint log", err)
		}
	}
	m := l.manifest.clone()
	m.Snapshots = append(m.Snapshots, ref)
	dead = m.retain(l.opt.KeepSnapshots)
	if err := writeManifest(l.fs, l.dir, m); err != nil {
		return nil, l.fail("publishing snapshot", err)
	}
	l.manifest = m
	return dead, nil
}

// retain drops snapshots beyond the newest keep, and segments that only the dropped ones needed: those
// whose every record is about a batch that the oldest kept snapshot includes. It returns their names.
//
// Why nothing of the log goes before there are keep snapshots: its beginning stands in for the ones
// missing, so that a damaged snapshot never costs the state.
func (m *manifest) retain(keep int) (dead []string) {
	for len(m.Snapshots) > keep {
		dead = append(dead, snapshotName(m.Snapshots[0].Batch))
		m.Snapshots = m.Snapshots[1:]
	}
	if len(m.Snapshots) < keep {
		return dead
	}
	oldest := m.Snapshots[0].Batch
	for len(m.Segments) > 1 && m.Segments[0].MaxBatch <= oldest {
		dead = append(dead, segmentName(m.Segments[0].Seq))
		m.Segments = m.Segments[1:]
	}
	return dead
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
