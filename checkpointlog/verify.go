package checkpointlog

import (
	"errors"
	"path/filepath"
	"slices"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// Report is what Verify and Inspect found.
type Report struct {
	Header        Header
	Segments      []SegmentInfo
	Snapshots     []SnapshotInfo // those without a flaw
	LastPlanned   *Planned
	LastPrepared  *Prepared
	LastCommitted *Committed
	Records       int64
	// Torn is not an error: the next Open cuts it off.
	Torn *TornTail
	// Bad are the flaws, the first bad byte of each file; Verify returns the first as its error too.
	Bad []*CorruptError
}

// SegmentInfo describes a live segment. Inspect does not count the records of those that the snapshot
// makes unnecessary.
type SegmentInfo struct {
	Name                         string
	Bytes                        int64
	FirstBatch, LastBatch        int64 // of its Prepared records; 0 if it has none
	Planned, Prepared, Committed int64 // records
}

// Verify reads every byte of a log without an engine and without the lock, and changes nothing. The error
// is a *CorruptError that names the first bad byte; the report holds what could be read.
func Verify(dir string, fsys vfs.FS) (*Report, error) { return inspect(dir, fsys, true) }

// Inspect summarises a log from its newest snapshot on, which is what a restart would read.
func Inspect(dir string, fsys vfs.FS) (*Report, error) { return inspect(dir, fsys, false) }

func inspect(dir string, fsys vfs.FS, all bool) (*Report, error) {
	report := new(Report)
	m, err := manifestOf(dir, fsys)
	if err != nil {
		return report, report.note(err)
	}
	for _, ref := range m.Snapshots {
		info, err := readSnapshot(fsys, dir, ref, nil)
		if err != nil {
			if report.note(err); !report.has(err) {
				return report, err
			}
			continue
		}
		report.Snapshots = append(report.Snapshots, *info)
	}
	for _, ref := range m.Segments {
		report.Segments = append(report.Segments, SegmentInfo{Name: segmentName(ref.Seq), Bytes: sizeOf(fsys, filepath.Join(dir, segmentName(ref.Seq)))})
	}
	s := &scan{fs: fsys, dir: dir, manifest: m.clone(), rec: &Recovered{fs: fsys, dir: dir}, all: all, visit: report.visit}
	err = s.run()
	report.Header, report.Torn = s.rec.Header, s.rec.Torn
	report.LastPlanned, report.LastPrepared, report.LastCommitted = s.rec.LastPlanned, s.rec.LastPrepared, s.rec.LastCommitted
	if err != nil && !report.has(err) {
		return report, report.note(err)
	}
	if len(report.Bad) > 0 {
		return report, report.Bad[0]
	}
	return report, nil
}

// note keeps damage in the report and returns err.
func (r *Report) note(err error) error {
	var bad *CorruptError
	if errors.As(err, &bad) {
		r.Bad = append(r.Bad, bad)
	}
	return err
}

// has says whether err is damage that is in the report already.
func (r *Report) has(err error) bool {
	var bad *CorruptError
	if !errors.As(err, &bad) {
		return false
	}
	for _, b := range r.Bad {
		if *b == *bad {
			return true
		}
	}
	return false
}

// visit counts a record of a segment.
func (r *Report) visit(path string, rec *record) error {
	name := filepath.Base(path)
	i := slices.IndexFunc(r.Segments, func(s SegmentInfo) bool { return s.Name == name })
	seg := &r.Segments[i]
	switch {
	case rec.planned != nil:
		seg.Planned++
	case rec.committed != nil:
		seg.Committed++
	case rec.prepared != nil:
		seg.Prepared++
		seg.LastBatch = rec.prepared.Batch
		if seg.FirstBatch == 0 {
			seg.FirstBatch = rec.prepared.Batch
		}
	default:
		return nil
	}
	r.Records++
	return nil
}

func sizeOf(fsys vfs.FS, path string) int64 {
	f, err := fsys.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	size, _ := f.Size()
	return size
}
