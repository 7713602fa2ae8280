package checkpointlog

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// Options tune a log. The zero value is the default.
type Options struct {
	// FS is where the log lives. Defaults to vfs.OS{}.
	FS vfs.FS
	// SegmentBytes is the size from which a segment is sealed and the next one begun. Defaults to 64 MiB.
	SegmentBytes int64
	// KeepSnapshots is how many full snapshots retention keeps, with the delta snapshots on them; the log since
	// the oldest of these chains stays too. Defaults to 2.
	KeepSnapshots int
	// KeepSnapshotsFor is an age up to which more of them are kept. Defaults to 0.
	KeepSnapshotsFor time.Duration
	// MaxDeltaShare is the part of a full snapshot's size from which the delta snapshots on it have cost enough that
	// the next one is full again: a restart reads at most that much more. Defaults to 0.5.
	MaxDeltaShare float64
	// MaxDeltaBytes bounds the state change of one batch, uncompressed. Defaults to 1 GiB.
	MaxDeltaBytes int64
}

func (o Options) withDefaults() (Options, error) {
	var errs []error
	for name, n := range map[string]int64{"SegmentBytes": o.SegmentBytes, "KeepSnapshots": int64(o.KeepSnapshots), "KeepSnapshotsFor": int64(o.KeepSnapshotsFor), "MaxDeltaBytes": o.MaxDeltaBytes} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("checkpoint log option %s is negative: %d", name, n))
		}
	}
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.KeepSnapshots == 0 {
		o.KeepSnapshots = 2
	}
	if o.MaxDeltaShare == 0 {
		o.MaxDeltaShare = 0.5
	}
	if o.MaxDeltaBytes == 0 {
		o.MaxDeltaBytes = 1 << 30
	}
	return o, errors.Join(errs...)
}

// Log is an open checkpoint log. Plan, Prepare, Commit, Sync and a snapshot may be called from
// different goroutines.
type Log struct {
	dir  string
	fs   vfs.FS
	opt  Options
	head Header
	// label is the header of the active segment.
	label Header
	lock  io.Closer

	// syncMu is held while the active segment is synced or replaced, so that neither happens under the
	// other. It is taken before mu; mu is not held during a sync, so that the next batch can be planned.
	syncMu sync.Mutex
	// manifestMu is held while the manifest is replaced. It is taken after syncMu and before mu. Why not syncMu for
	// both: a batch is prepared while a snapshot is published, which takes several syncs.
	manifestMu sync.Mutex

	mu       sync.Mutex // guards what follows
	active   *frameWriter
	seq      sequence
	maxBatch int64 // highest batch in the active segment
	manifest manifest
	planned  map[int64]*Planned  // batches after seq.Prepared, latest plan of each
	recent   map[int64]*Prepared // the last two, without Delta, for snapshots
	poison   error
	closed   bool
	writing  *SnapshotWriter
	durable  int64  // newest batch whose Prepared is known to be synced
	pins     []*Pin // of copies of the log

	// newHeader says that the active segment carries another header than head: the program or DuckDB
	// changed, and the first Plan begins a new segment.
	newHeader atomic.Bool

	stats Stats
	// appendedBytes and prepareWait belong to Stats.
	appendedBytes, prepareWait atomic.Int64
}

// Stats describe a log since it was opened.
type Stats struct {
	LastPrepared, LastCommitted int64
	SnapshotBatch               int64 // of the newest snapshot, 0 if none
	Segments, Snapshots         int
	SegmentBytes                int64 // live segments
	SnapshotBytes               int64 // live snapshots
	AppendedBytes               int64
	Syncs                       int64
	SyncFor                     time.Duration // total
	// PrepareWait is the longest that a Prepare waited for another use of the log: a snapshot about to be published
	// makes what was appended durable.
	PrepareWait time.Duration
	// DeleteFailures counts dead files that retention could not delete; the next Open tries again.
	DeleteFailures int64
}

// Open opens the log in dir, making it if there is none, and returns what it holds. A torn tail is cut
// off (Recovered.Torn); damage is a *CorruptError; a directory that another engine has open is
// ErrLocked. Everything that Recovered reports is durable when Open returns.
//
// h is what new segments are labelled with. A directory of another pipeline is refused; a different
// plan or DuckDB version is reported in Recovered and left to the caller.
func Open(dir string, h Header, o Options) (*Log, *Recovered, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, nil, err
	}
	if err := o.FS.MkdirAll(dir); err != nil {
		return nil, nil, fmt.Errorf("making checkpoint log directory: %w", err)
	}
	if err := o.FS.SyncDir(filepath.Dir(dir)); err != nil {
		return nil, nil, fmt.Errorf("making checkpoint log directory: %w", err)
	}
	lock, err := o.FS.Lock(filepath.Join(dir, lockName))
	if errors.Is(err, ErrLocked) {
		return nil, nil, fmt.Errorf("checkpoint log %s is in use by another engine: %w\nHint: stop that engine first; `sluice ls` shows what is running", dir, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("locking checkpoint log: %w", err)
	}
	l := &Log{dir: dir, fs: o.FS, opt: o, head: h, lock: lock}
	rec, err := l.open()
	if err != nil {
		if l.active != nil {
			err = errors.Join(err, l.active.file.Close())
		}
		return nil, nil, errors.Join(fmt.Errorf("opening checkpoint log: %w%s", err, ioHint(err)), lock.Close())
	}
	return l, rec, nil
}

// Close syncs what was appended and releases the directory. On a poisoned log it only releases.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	poisoned := l.poison != nil
	l.mu.Unlock()
	var err error
	if !poisoned {
		if err = l.Sync(); err == nil {
			err = l.mark()
		}
	}
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.manifestMu.Lock()
	defer l.manifestMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return errors.Join(err, l.active.file.Close(), l.lock.Close())
}

// mark appends a Mark frame, whose synced field witnesses that all bytes before it were durable: a bit
// that flips in a log that was closed cleanly is then known for damage and not for a torn tail.
func (l *Log) mark() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(typeMark, verbatim(nil))
}

// usable says why the log cannot be used; mu is held.
func (l *Log) usable() error {
	switch {
	case l.poison != nil:
		return fmt.Errorf("%w: %w", ErrPoisoned, l.poison)
	case l.closed:
		return errors.New("checkpoint log is closed")
	}
	return nil
}

// fail poisons the log and returns err with what was attempted; mu is held.
func (l *Log) fail(doing string, err error) error {
	err = fmt.Errorf("%s: %w%s", doing, err, ioHint(err))
	if l.poison == nil {
		l.poison = err
	}
	return err
}

func (l *Log) waited(d time.Duration) { // by Prepare alone, under syncMu
	l.prepareWait.Store(max(l.prepareWait.Load(), int64(d)))
}

// AppendedBytes is that of Stats, without waiting for a batch that is being written.
func (l *Log) AppendedBytes() int64 { return l.appendedBytes.Load() }

// PrepareWait is that of Stats, without waiting for a batch that is being written.
func (l *Log) PrepareWait() time.Duration { return time.Duration(l.prepareWait.Load()) }

// Stats returns counters; it may be called at any time.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.AppendedBytes, s.PrepareWait = l.AppendedBytes(), l.PrepareWait()
	s.LastPrepared, s.LastCommitted = l.seq.Prepared, l.seq.Committed
	s.Segments, s.Snapshots = len(l.manifest.Segments), len(l.manifest.Snapshots)
	s.SegmentBytes = l.active.size
	for _, seg := range l.manifest.Segments {
		s.SegmentBytes += seg.Bytes
	}
	for _, snap := range l.manifest.Snapshots {
		s.SnapshotBatch = max(s.SnapshotBatch, snap.Batch)
		s.SnapshotBytes += snap.Bytes
	}
	return s
}
