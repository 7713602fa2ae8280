package checkpointlog

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// readChain reads a full snapshot and the delta snapshots on it, checks all of it, and returns what the last
// says. bad is the position of the one that err is about.
func readChain(fsys vfs.FS, dir string, refs []snapshotRef, fn func(snapshotRef, *block) error) (info *SnapshotInfo, bad int, err error) {
	for i, ref := range refs {
		each := func(b *block) error { return fn(ref, b) }
		if fn == nil {
			each = nil
		}
		next, err := readSnapshot(fsys, dir, ref, each)
		if err == nil && i > 0 && next.baseChain != refs[i-1].Chain {
			err = corrupt(next.Path, 0, "it is not relative to the snapshot of batch %d that the manifest names", ref.Base)
		}
		if err != nil {
			return nil, i, err
		}
		info = next
	}
	info.chain = refs
	return info, 0, nil
}

// pickSnapshot finds the newest snapshot that reads without a flaw, with all that it is relative to.
//
// Why read it all now, and again when state is restored: damage found half-way through a restore is too
// late to choose another one, and checksums cost little beside decoding.
func (s *scan) pickSnapshot() error {
	for i := len(s.manifest.Snapshots) - 1; i >= 0; {
		from := s.manifest.chainStart(i)
		info, at, err := readChain(s.fs, s.dir, s.manifest.Snapshots[from:i+1], nil)
		var bad *CorruptError
		switch {
		case err == nil:
			s.rec.Snapshot = info
			return nil
		case errors.As(err, &bad):
			s.rec.BadSnapshots = append(s.rec.BadSnapshots, bad)
			s.bad = append(s.bad, s.manifest.Snapshots[from+at:i+1]...)
			i = from + at - 1
		default:
			return err
		}
	}
	return nil
}

// SnapshotLoader takes the blocks of a recovered snapshot.
type SnapshotLoader struct {
	// Full gets the blocks of a full snapshot, and Delta then those of the delta snapshots on it, each in the
	// order written, on a goroutine of their own. What they return is called on the caller's, in the same order,
	// while later blocks are read. A block is valid until then.
	Full, Delta func(table string, block []byte) (apply func() error, err error)
}

// blocksAhead is how many blocks of a snapshot may have been read and not applied: a mebibyte or so each.
const blocksAhead = 4

// EachSnapshotBlock gives the loader every block of the snapshot. An error means that the state read so far
// must be thrown away.
func (r *Recovered) EachSnapshotBlock(l SnapshotLoader) error {
	if r.Snapshot == nil {
		return nil
	}
	type step struct {
		raw   []byte
		apply func() error
	}
	free := make(chan []byte, blocksAhead+2)
	err := ahead(blocksAhead, func(hand func(step) error) error {
		_, _, err := readChain(r.fs, r.dir, r.Snapshot.chain, func(ref snapshotRef, b *block) error {
			var raw []byte
			select {
			case raw = <-free:
			default:
			}
			raw, err := b.appendRaw(raw[:0])
			if err != nil {
				return corrupt(r.Snapshot.Path, -1, "%v", err)
			}
			load := l.Full
			if ref.Base > 0 {
				load = l.Delta
			}
			apply, err := load(b.name, raw)
			if err != nil {
				return err
			}
			return hand(step{raw, apply})
		})
		return err
	}, func(s step) error {
		err := s.apply()
		select {
		case free <- s.raw:
		default:
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("reading snapshot of batch %d: %w", r.Snapshot.Batch, err)
	}
	return nil
}

// SuggestDelta says whether the next snapshot should be a delta on the newest, given how much log has gathered
// since that one began and which share of all rows has changed: it will hold about the lesser of the two.
func (l *Log) SuggestDelta(gathered int64, share float64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.manifest.Snapshots)
	if n == 0 {
		return false
	}
	chain := l.manifest.Snapshots[l.manifest.chainStart(n-1):]
	gathered = min(gathered, int64(share*float64(chain[0].Bytes)))
	for _, delta := range chain[1:] {
		gathered += delta.Bytes
	}
	return float64(gathered) < l.opt.MaxDeltaShare*float64(chain[0].Bytes)
}

// absorbable returns the delta snapshots at the end of the newest chain that a new one of about that size
// should take in. They are at most twice as large as it and those taken in before, so the sizes in a
// chain at least double from its end to its beginning, and there are few of them however small each is.
func (m *manifest) absorbable(bytes int64) []snapshotRef {
	i := len(m.Snapshots)
	for i > 0 && m.Snapshots[i-1].Base > 0 && m.Snapshots[i-1].Bytes <= 2*bytes {
		i--
		bytes += m.Snapshots[i].Bytes
	}
	return slices.Clone(m.Snapshots[i:])
}
