package checkpointlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// readSnapshot reads a snapshot, checks all of it, and calls fn for each block (nil: only check).
// A snapshot is complete before the manifest names it, so every flaw is a *CorruptError.
func readSnapshot(fsys vfs.FS, dir string, ref snapshotRef, fn func(*block) error) (info *SnapshotInfo, err error) {
	path := filepath.Join(dir, snapshotName(ref.Batch))
	f, err := fsys.Open(path)
	if err != nil {
		return nil, missing(path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var head snapshotHead
	h, err := readHead(f, path, magicSnapshot, &head)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading snapshot: %w", err)
	case size != ref.Bytes:
		return nil, corrupt(path, min(size, ref.Bytes), "the snapshot has %d bytes, the manifest says %d", size, ref.Bytes)
	case head.Batch != ref.Batch || head.Base != ref.Base || head.Prepared == nil || head.Prepared.Batch != ref.Batch:
		return nil, corrupt(path, 0, "it is the snapshot of batch %d on %d, the manifest says %d on %d", head.Batch, head.Base, ref.Batch, ref.Base)
	}
	head.FormatVersion = h.version
	r := newFrameReader(f, h, size)
	tables, err := readBlocks(r, path, ref.Batch, fn)
	if err != nil {
		return nil, err
	}
	if r.prev != ref.Chain {
		return nil, corrupt(path, 0, "it is not the file that the manifest names")
	}
	return &SnapshotInfo{
		Header: head.Header, Batch: head.Batch, Epoch: head.Epoch, Watermarks: head.Watermarks, Offsets: head.Offsets,
		Path: path, Bytes: size, Tables: tables, Base: head.Base, CreatedAt: head.CreatedAt, ref: ref, baseChain: head.BaseChain, prepared: head.Prepared,
	}, nil
}

// readBlocks reads frames up to the footer, which must be the last and agree with them.
func readBlocks(r *frameReader, path string, batch int64, fn func(*block) error) ([]TableInfo, error) {
	var tables []TableInfo
	index := make(map[string]int)
	var foot *footer
	for {
		f, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, asCorrupt(path, err)
		}
		if foot != nil {
			return nil, corrupt(path, f.off, "a %v frame follows the footer", f.typ)
		}
		switch f.typ {
		case typeBlock:
			b, err := decodeBlock(f.body)
			if err == nil && b.batch != batch {
				err = fmt.Errorf("the block is of batch %d", b.batch)
			}
			if err != nil {
				return nil, corrupt(path, f.off, "%v", err)
			}
			i, ok := index[b.name]
			if !ok {
				i = len(tables)
				index[b.name] = i
				tables = append(tables, TableInfo{Table: b.name})
			}
			tables[i].Blocks++
			tables[i].Bytes += b.raw
			if fn != nil {
				if err := fn(&b); err != nil {
					return nil, err
				}
			}
		case typeFooter:
			foot = new(footer)
			if err := json.Unmarshal(f.body, foot); err != nil {
				return nil, corrupt(path, f.off, "the footer does not decode: %v", err)
			}
		default:
			return nil, corrupt(path, f.off, "a %v frame does not belong in a snapshot", f.typ)
		}
	}
	if foot == nil {
		return nil, corrupt(path, r.off, "it has no footer")
	}
	if !slices.Equal(tables, foot.Tables) {
		return nil, corrupt(path, r.off, "the footer lists other blocks than there are")
	}
	return tables, nil
}

// setBadSnapshotsAside takes damaged snapshots out of the manifest and renames their files. It runs only
// when the rest of the log was found to suffice without them.
//
// Crash between a rename and the manifest: the next Open finds the file missing, and drops it likewise.
func (s *scan) setBadSnapshotsAside() error {
	if len(s.bad) == 0 {
		return nil
	}
	isBad := func(ref snapshotRef) bool { return slices.Contains(s.bad, ref) }
	s.manifest.Snapshots = slices.DeleteFunc(s.manifest.Snapshots, isBad)
	for _, ref := range s.bad { // those that are relative to a damaged one, too: they are of no use without it
		path := filepath.Join(s.dir, snapshotName(ref.Batch))
		f, err := s.fs.Open(path)
		if err != nil {
			continue // missing: that is its flaw
		}
		if err := errors.Join(f.Close(), s.fs.Rename(path, path+badSuffix)); err != nil {
			return fmt.Errorf("setting damaged snapshot aside: %w", err)
		}
	}
	return writeManifest(s.fs, s.dir, s.manifest)
}
