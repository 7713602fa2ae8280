package checkpointlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// sweep deletes what a crash left: temporary files, segments and snapshots that the manifest does not
// name. It refuses a segment from after the manifest that holds records, because a segment gets records
// only once the manifest names it: such a manifest is an old copy.
func sweep(fsys vfs.FS, dir string, m *manifest) error {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing checkpoint log: %w", err)
	}
	live := make(map[string]bool)
	var first uint64
	if m != nil {
		first = m.Segments[0].Seq
		for _, s := range m.Segments {
			live[segmentName(s.Seq)] = true
		}
		for _, s := range m.Snapshots {
			live[snapshotName(s.Batch)] = true
		}
	}
	for _, name := range names {
		if live[name] {
			continue
		}
		path := filepath.Join(dir, name)
		seq, isSegment := numbered(name, segmentSuffix)
		_, isSnapshot := numbered(name, snapSuffix)
		switch {
		case isSegment && seq >= first:
			if err := checkLeftOver(fsys, path, m); err != nil {
				return err
			}
		case isSnapshot && m == nil:
			return corrupt(filepath.Join(dir, manifestName), -1, "it is missing, but there is a snapshot, %s", name)
		case !isSegment && !isSnapshot && !strings.HasSuffix(name, tempSuffix):
			continue // not ours
		}
		if err := fsys.Remove(path); err != nil {
			return fmt.Errorf("deleting left-over file: %w", err)
		}
	}
	return nil
}

// checkLeftOver refuses a segment that the manifest should name because it holds records.
func checkLeftOver(fsys vfs.FS, path string, m *manifest) error {
	f, err := fsys.Open(path)
	if err != nil {
		return fmt.Errorf("opening left-over segment: %w", err)
	}
	defer f.Close()
	var head segmentHead
	h, err := readHead(f, path, magicSegment, &head)
	var bad *CorruptError
	if errors.As(err, &bad) {
		return nil // the header itself was not complete yet
	}
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil || size == h.bytes {
		return err
	}
	manifestPath := filepath.Join(filepath.Dir(path), manifestName)
	if m == nil {
		return corrupt(manifestPath, -1, "it is missing, but there are records in %s", filepath.Base(path))
	}
	return corrupt(manifestPath, 0, "it does not name %s, which holds records: it is an old copy", filepath.Base(path))
}

// missing says that a file which the manifest names is not there.
func missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return corrupt(path, -1, "the manifest names it but it does not exist")
	}
	return fmt.Errorf("opening checkpoint log file: %w", err)
}
