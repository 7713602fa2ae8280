package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
)

// documentFormat is the version of both documents.
const documentFormat = 1

// A ledger is .sluice/ledger.
type ledger struct {
	Format   int    `json:"format"`
	Pipeline string `json:"pipeline"`
	Output   string `json:"output"`
	Layout   Layout `json:"layout"`
	Epoch    int64  `json:"epoch"`
	// Restoring is there while a savepoint is put back.
	Restoring *restoring `json:"restoring,omitempty"`
	position
}

// A position says how far a directory has got.
type position struct {
	// Batch is the newest committed one.
	Batch       int64           `json:"batch"`
	Offsets     json.RawMessage `json:"offsets,omitempty"`
	Plan        string          `json:"plan,omitempty"`
	ContentHash string          `json:"content_hash,omitempty"`
	// Directory is the newest batch that has rows, and so a directory.
	Directory int64 `json:"directory,omitempty"`
	// Rows counts those of all batches.
	Rows       int64            `json:"rows"`
	Watermark  time.Time        `json:"watermark,omitzero"`
	Watermarks map[string]int64 `json:"watermarks,omitempty"`
	// Times is the length of .sluice/batch_time.
	Times       int64     `json:"batch_time_bytes,omitempty"`
	CommittedAt time.Time `json:"committed_at,omitzero"`
}

// A manifest is .manifest in the directory of a batch.
type manifest struct {
	Format   int    `json:"format"`
	Pipeline string `json:"pipeline"`
	Output   string `json:"output"`
	// Epoch is that of the engine that staged the batch.
	Epoch       int64                      `json:"epoch"`
	Staged      int64                      `json:"staged_batch"`
	Digest      checkpointlog.OutputDigest `json:"digest"`
	Files       []writtenFile              `json:"files"`
	DeadLetters int64                      `json:"dead_letters,omitempty"`
	// Previous is the batch of the directory before this one, 0 if this is the first.
	Previous int64 `json:"previous,omitempty"`
	// Position is the ledger's after this batch; it is there from phase 2 on.
	Position *position `json:"position,omitempty"`
}

// A writtenFile is one that the manifest vouches for.
type writtenFile struct {
	Path  string `json:"path"` // below the batch's directory
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"`
}

// empty says that the batch needs no directory.
func (m *manifest) empty() bool { return len(m.Files) == 0 && m.DeadLetters == 0 }

var errForeign = errors.New("not written by sluice")

// readLedger returns nil when there is none.
func (s *Sink) readLedger() (*ledger, error) {
	var l ledger
	err := s.readDocument(s.ledgerPath(), &l)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case l.Format != documentFormat:
		return nil, fmt.Errorf("%s has format %d, and this sluice knows %d\nHint: it was written by a newer sluice", s.ledgerPath(), l.Format, documentFormat)
	}
	return &l, nil
}

// readManifest reads that of a directory; errForeign if there is none that makes sense.
func (s *Sink) readManifest(dir string) (*manifest, error) {
	var m manifest
	err := s.readDocument(filepath.Join(dir, manifestName), &m)
	if errors.Is(err, fs.ErrNotExist) || err == nil && m.Format != documentFormat {
		err = fmt.Errorf("%s has no manifest: %w", dir, errForeign)
	}
	return &m, err
}

func (s *Sink) readDocument(path string, doc any) error {
	f, err := s.fs.Open(path)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := json.Unmarshal(text, doc); err != nil {
		return fmt.Errorf("%s is damaged: %w: %w", path, err, errForeign)
	}
	return nil
}

// writeDocument replaces a file, whole or not at all, and makes that durable.
func (s *Sink) writeDocument(path string, doc any) error {
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	if err := s.writeFile(path+".new", func(w io.Writer) error { _, err := w.Write(append(text, '\n')); return err }); err != nil {
		return err
	}
	if err := s.fs.Rename(path+".new", path); err != nil {
		return err
	}
	return s.fs.SyncDir(filepath.Dir(path))
}

// writeFile makes a file with durable content; its directory entry is not durable yet.
func (s *Sink) writeFile(path string, fill func(io.Writer) error) error {
	f, err := s.fs.Create(path)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// removeAll deletes a directory with all that is in it; it is a success if there is none.
func removeAll(fsys vfs.FS, path string) error {
	names, err := fsys.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		child := filepath.Join(path, name)
		if _, err := fsys.ReadDir(child); err == nil {
			err = removeAll(fsys, child)
			if err != nil {
				return err
			}
		} else if err := fsys.Remove(child); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// directories lists the batches that have one, in order.
func (s *Sink) directories() ([]int64, error) {
	names, err := s.fs.ReadDir(s.o.Dir)
	if err != nil {
		return nil, err
	}
	var out []int64
	for _, name := range names {
		if n, ok := batchOf(name); ok {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// look reads the ledger and what a crash may have left ahead of it: the directory of the next batch, renamed
// into place, and the ledger not yet replaced. ahead says that this is so. The ledger is nil for a directory
// that no pipeline has.
func (s *Sink) look() (l *ledger, ahead bool, err error) {
	if l, err = s.readLedger(); err != nil {
		return nil, false, err
	}
	if l != nil && l.Restoring != nil {
		return nil, false, fmt.Errorf("%s is being put back to batch %d of a savepoint, which was not completed\nHint: repeat the command with --from-savepoint, and --rewind if it was there", s.o.Dir, l.Restoring.Batch)
	}
	dirs, err := s.directories()
	if err != nil || len(dirs) == 0 {
		return l, false, err
	}
	newest := dirs[len(dirs)-1]
	switch {
	case l == nil:
		return nil, false, fmt.Errorf("%s has %s, but no ledger: %w\nHint: give the sink another path, or move what is there away", s.o.Dir, batchName(newest), errForeign)
	case newest <= l.Batch:
		return l, false, nil
	}
	m, err := s.readManifest(s.batchDir(newest))
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("%w\nHint: move it away", err)
	case m.Pipeline != l.Pipeline || m.Position == nil || m.Position.Batch != newest || newest != l.Batch+1:
		return nil, false, fmt.Errorf("%s is newer than the ledger, which is at batch %d\nHint: an older copy of %s was put in place; restore the newest", s.batchDir(newest), l.Batch, filepath.Join(s.o.Dir, workDir))
	}
	l.position = *m.Position
	return l, true, nil
}

// belongs refuses a directory that is another pipeline's, or was written otherwise.
func (s *Sink) belongs(l *ledger, pipeline string) error {
	switch {
	case l == nil:
		return nil
	case l.Pipeline != pipeline:
		return fmt.Errorf("%s belongs to pipeline %s\nHint: give this sink another path, or drop that pipeline", s.o.Dir, l.Pipeline)
	case l.Batch > 0 && l.Output != s.output.Name:
		return fmt.Errorf("%s holds the rows of view %s, not of %s\nHint: give this sink another path", s.o.Dir, l.Output, s.output.Name)
	case l.Batch > 0 && !reflect.DeepEqual(l.Layout, s.o.Layout):
		was, is := differing(l.Layout, s.o.Layout)
		return fmt.Errorf("%s was written with %s, and the sink now says %s\nHint: put the option back as it was, or give the sink another path", s.o.Dir, was, is)
	}
	return nil
}

// differing names the first option in which two layouts differ, with both values.
func differing(a, b Layout) (was, is string) {
	csv := func(l Layout) CSV {
		if l.CSV == nil {
			return CSV{}
		}
		return *l.CSV
	}
	for _, o := range []struct {
		name string
		a, b any
	}{
		{"format", a.Format, b.Format}, {"mode", a.Mode, b.Mode}, {"partition_by", strings.Join(a.PartitionBy, ","), strings.Join(b.PartitionBy, ",")},
		{"compression", a.Compression, b.Compression}, {"header", !csv(a).NoHeader, !csv(b).NoHeader}, {"delimiter", csv(a).Delimiter, csv(b).Delimiter},
		{"quote", csv(a).Quote, csv(b).Quote}, {"null", csv(a).Null, csv(b).Null},
	} {
		if o.a != o.b {
			return fmt.Sprintf("%s = '%v'", o.name, o.a), fmt.Sprintf("'%v'", o.b)
		}
	}
	panic(fmt.Sprintf("file sink: layouts %+v and %+v differ in nothing", a, b))
}

func (l *ledger) public(found bool) microbatch.Ledger {
	return microbatch.Ledger{Found: found, Epoch: l.Epoch, Batch: l.Batch, Offsets: l.Offsets, Plan: l.Plan, ContentHash: l.ContentHash, Watermarks: l.Watermarks}
}
