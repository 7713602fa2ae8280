package checkpointlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
)

var (
	fpManifestBeforeRename = failpoint.New("manifest.before_rename")
	fpManifestAfterRename  = failpoint.New("manifest.after_rename")
)

const (
	manifestName  = "MANIFEST"
	lockName      = "LOCK"
	tempSuffix    = ".tmp"
	segmentSuffix = ".log"
	snapSuffix    = ".snap"
	badSuffix     = ".bad"
	tornSuffix    = ".torn"
	manifestMagic = "sluice-manifest 1 "
)

// manifest names what is live. It is replaced as a whole: written to a temporary file, synced, renamed,
// directory synced. Files it does not name are left-overs.
//
//	sluice-manifest 1 <CRC-32C of the JSON, 8 hex digits>\n
//	{"segments": …, "snapshots": …}\n
type manifest struct {
	Segments  []segmentRef  `json:"segments"` // ascending and without gaps; the last is written to
	Snapshots []snapshotRef `json:"snapshots"`
	// Origin is the pipeline whose log this was before it was copied for another, whose files are labelled so.
	Origin string `json:"origin,omitempty"`
}

// segmentRef is a live segment. Bytes and MaxBatch are known once it is sealed.
type segmentRef struct {
	Seq      uint64 `json:"seq"`
	Bytes    int64  `json:"bytes,omitempty"`
	MaxBatch int64  `json:"max_batch,omitempty"` // highest batch that any of its records is about
}

// snapshotRef is a live snapshot. A full one and the delta snapshots that follow it are a chain.
type snapshotRef struct {
	Batch int64  `json:"batch"`
	Bytes int64  `json:"bytes"`
	Chain uint32 `json:"chain"` // CRC of the last frame, the footer
	// Base is the batch of the snapshot that this one is relative to, which stands right before it; 0 if it
	// is a full one.
	Base int64     `json:"base,omitempty"`
	At   time.Time `json:"at,omitzero"` // when it was published
}

// standsOn says that a snapshot can follow those that are there: a delta needs what it is relative to.
func (m *manifest) standsOn(ref snapshotRef) bool {
	n := len(m.Snapshots)
	return ref.Base == 0 || n > 0 && m.Snapshots[n-1].Batch == ref.Base
}

// chainStart returns where the chain of snapshot i begins.
func (m *manifest) chainStart(i int) int {
	for i > 0 && m.Snapshots[i].Base > 0 {
		i--
	}
	return i
}

func (m manifest) clone() manifest {
	return manifest{slices.Clone(m.Segments), slices.Clone(m.Snapshots), m.Origin}
}

func segmentName(seq uint64) string   { return fmt.Sprintf("%016d%s", seq, segmentSuffix) }
func snapshotName(batch int64) string { return fmt.Sprintf("%016d%s", batch, snapSuffix) }

// numbered returns the number in a segment's or snapshot's name.
func numbered(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	return n, err == nil
}

// readManifest returns nil when there is none.
func readManifest(fsys vfs.FS, dir string) (*manifest, error) {
	path := filepath.Join(dir, manifestName)
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening manifest: %w", err)
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading manifest: %w", err)
	}
	m, err := decodeManifest(b)
	if err != nil {
		return nil, corrupt(path, 0, "%v", err)
	}
	return m, nil
}

func encodeManifest(m manifest) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	body = append(body, '\n')
	return append(fmt.Appendf(nil, "%s%08x\n", manifestMagic, crc32.Checksum(body, castagnoli)), body...), nil
}

func decodeManifest(b []byte) (*manifest, error) {
	line, body, ok := bytes.Cut(b, []byte("\n"))
	sum, isManifest := bytes.CutPrefix(line, []byte(manifestMagic))
	if !ok || !isManifest {
		return nil, errors.New("it is not a manifest")
	}
	if string(sum) != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)) {
		return nil, errors.New("its checksum does not match")
	}
	m := new(manifest)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, err
	}
	if len(m.Segments) == 0 {
		return nil, errors.New("it names no segment")
	}
	for i, s := range m.Segments {
		if s.Seq != m.Segments[0].Seq+uint64(i) || s.Seq == 0 {
			return nil, fmt.Errorf("segment %d does not follow the one before", s.Seq)
		}
	}
	for i, s := range m.Snapshots {
		if before := (&manifest{Snapshots: m.Snapshots[:i]}); !before.standsOn(s) {
			return nil, fmt.Errorf("the snapshot of batch %d is relative to that of batch %d, which does not stand before it", s.Batch, s.Base)
		}
	}
	return m, nil
}

// writeManifest replaces the manifest. After an error either the old or the new one is in force, so the
// caller must not go on.
func writeManifest(fsys vfs.FS, dir string, m manifest) error {
	b, err := encodeManifest(m)
	if err != nil {
		return fmt.Errorf("encoding manifest: %w", err)
	}
	path := filepath.Join(dir, manifestName)
	if err := writeSynced(fsys, path+tempSuffix, b); err != nil {
		return fmt.Errorf("writing manifest: %w", err)
	}
	if err := fpManifestBeforeRename.Hit(); err != nil {
		return err
	}
	if err := fsys.Rename(path+tempSuffix, path); err != nil {
		return fmt.Errorf("renaming manifest: %w", err)
	}
	if err := fpManifestAfterRename.Hit(); err != nil {
		return err
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	return nil
}

// writeSynced creates a file with that content and syncs it; its directory entry is not synced.
func writeSynced(fsys vfs.FS, path string, content []byte) error {
	f, err := fsys.Create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
