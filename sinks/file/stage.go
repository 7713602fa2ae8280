package file

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
)

var (
	fpStageBeforeManifest = failpoint.New("filesink.stage.before_manifest")
	fpStageAfterManifest  = failpoint.New("filesink.stage.after_manifest")
)

// Stage implements microbatch.Sink.
func (s *Sink) Stage(ctx context.Context, b *microbatch.StagedBatch) error {
	err := s.stage(ctx, b)
	if err == nil {
		return nil
	}
	// Why ask again: a newer engine deletes what this one is staging, which then fails for want of a directory.
	if _, now := s.own(); errors.Is(now, microbatch.ErrFenced) {
		err = now
	}
	return s.explain(fmt.Sprintf("stage batch %d", b.Batch), err)
}

func (s *Sink) stage(ctx context.Context, b *microbatch.StagedBatch) error {
	// Why no lock: this only keeps a fenced engine from working in vain; Commit looks again.
	l, err := s.own()
	if err != nil {
		return err
	}
	if l.Batch >= b.Batch {
		return fmt.Errorf("%w: the ledger is at batch %d", ErrDisagree, l.Batch)
	}
	at := slices.IndexFunc(b.Outputs, func(d microbatch.OutputDelta) bool { return d.Name == s.output.Name })
	if at < 0 {
		panic(fmt.Sprintf("file sink: batch %d has no delta of output %s", b.Batch, s.output.Name))
	}
	d := &b.Outputs[at]
	if err := s.forget(b.Batch); err != nil {
		return err
	}
	dir := filepath.Join(s.stagingDir(), stagedName(s.epoch, b.Batch))
	if err := s.fs.MkdirAll(dir); err != nil {
		return err
	}
	m := &manifest{Format: documentFormat, Pipeline: s.pipeline, Output: s.output.Name, Epoch: s.epoch, Staged: b.Batch,
		Digest: d.Digest, Files: []writtenFile{}, Previous: l.Directory}
	if m.Files, err = s.writeRows(ctx, dir, d); err != nil {
		return err
	}
	if s.o.DeadLetters && len(b.DeadLetters) > 0 {
		m.DeadLetters = int64(len(b.DeadLetters))
		if err := s.writeFile(filepath.Join(dir, deadLetterName), func(w io.Writer) error { return writeLetters(w, b.DeadLetters) }); err != nil {
			return err
		}
	}
	if err := fpStageBeforeManifest.Hit(); err != nil {
		return err
	}
	// Invariant: all that the manifest names is durable before it is there.
	if err := s.writeDocument(filepath.Join(dir, manifestName), m); err != nil {
		return err
	}
	if err := s.fs.SyncDir(s.stagingDir()); err != nil {
		return err
	}
	return fpStageAfterManifest.Hit()
}

// forget deletes what was staged of a batch before. Engines of older epochs are fenced and cannot need it.
func (s *Sink) forget(batch int64) error {
	names, err := s.fs.ReadDir(s.stagingDir())
	if err != nil {
		return err
	}
	for _, name := range names {
		if epoch, b, ok := stagedOf(name); ok && b == batch && epoch <= s.epoch {
			if err := removeAll(s.fs, filepath.Join(s.stagingDir(), name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeRows writes a file a partition and makes all of it durable but the entries in dir itself.
func (s *Sink) writeRows(ctx context.Context, dir string, d *microbatch.OutputDelta) ([]writtenFile, error) {
	files := []writtenFile{}
	parts, err := s.split(d)
	if err != nil {
		return nil, err
	}
	made := map[string]bool{}
	for _, p := range parts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		sub := filepath.Join(dir, p.path)
		if err := s.fs.MkdirAll(sub); err != nil {
			return nil, err
		}
		for ; sub != dir; sub = filepath.Dir(sub) {
			made[sub] = true
		}
		w := writtenFile{Path: filepath.Join(p.path, partName(s.o.Layout)), Rows: p.rows}
		if w.Bytes, err = s.writePart(ctx, filepath.Join(dir, w.Path), p); err != nil {
			return nil, err
		}
		files = append(files, w)
	}
	// The deepest first, so that no directory is durable whose content is not.
	for _, sub := range deepestFirst(made) {
		if err := s.fs.SyncDir(sub); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func deepestFirst(dirs map[string]bool) []string {
	var out []string
	for d := range dirs {
		out = append(out, d)
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

// writePart writes one file and returns its size.
func (s *Sink) writePart(ctx context.Context, path string, p *part) (size int64, err error) {
	err = s.writeFile(path, func(w io.Writer) error {
		c := &counter{w: w}
		buffered := bufio.NewWriterSize(c, 64<<10)
		if err := s.encode(ctx, buffered, p); err != nil {
			return err
		}
		err := buffered.Flush()
		size = c.n
		return err
	})
	return size, err
}

// counter counts the bytes that go through.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// A letter is a line of .dead_letter.
type letter struct {
	Source    string `json:"source"`
	Partition string `json:"partition"`
	Offset    int64  `json:"offset"`
	Reason    string `json:"reason"`
	Raw       string `json:"raw"`
}

func writeLetters(w io.Writer, letters []microbatch.DeadLetter) error {
	e := json.NewEncoder(w)
	for _, d := range letters {
		if err := e.Encode(letter(d)); err != nil {
			return err
		}
	}
	return nil
}
