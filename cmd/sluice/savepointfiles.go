package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/savepoint"
	filesink "github.com/sluice-sql/sluice/sinks/file"
)

// filesIndex lists the directories of file sinks; the files of each are below files/NNNN/.
const filesIndex = savepoint.FilesDir + "/index.json"

func filesOf(i int) string { return fmt.Sprintf("%s/%04d/", savepoint.FilesDir, i) }

// eachFileSink opens the sinks one after the other, without taking them over.
func (l *loaded) eachFileSink(fn func(i int, s *filesink.Sink, t microbatch.Target) error) error {
	for i, b := range l.fileSinks() {
		o := b.files
		o.DeadLetters = i == 0 && !l.needsPostgres()
		s, err := filesink.New(o)
		if err == nil {
			err = errors.Join(fn(i, s, microbatch.Target{Output: b.output, Options: b.options}), s.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leastOfFiles is the newest batch that every directory has.
func (l *loaded) leastOfFiles() (least int64, err error) {
	err = l.eachFileSink(func(i int, s *filesink.Sink, t microbatch.Target) error {
		at, err := s.State(l.Name, t)
		if i == 0 || at.Batch < least {
			least = at.Batch
		}
		return err
	})
	return least, err
}

// exportFiles copies what the directories have up to the savepoint's batch.
func (o *savepointOptions) exportFiles(ctx context.Context, l *loaded, w *savepoint.Writer, batch int64) error {
	index := []*filesink.Exported{}
	err := l.eachFileSink(func(i int, s *filesink.Sink, t microbatch.Target) error {
		e, err := s.Export(ctx, l.Name, t, batch, func(path string) (io.WriteCloser, error) { return w.Create(filesOf(i) + path) })
		index = append(index, e)
		return err
	})
	if err != nil {
		return err
	}
	doc, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return w.Put(filesIndex, append(doc, '\n'))
}

// restoreFiles makes every directory what it was at the savepoint.
func (r *restoration) restoreFiles(ctx context.Context) error {
	in, err := r.info.Reader(vfs.OS{}, r.dir, filesIndex)
	if err != nil {
		return fmt.Errorf("the savepoint has no files: %w", err)
	}
	doc, err := io.ReadAll(in)
	if err = errors.Join(err, in.Close()); err != nil {
		return err
	}
	var index []*filesink.Exported
	if err := json.Unmarshal(doc, &index); err != nil {
		return fmt.Errorf("read %s: %w", filesIndex, err)
	}
	at := microbatch.Ledger{Epoch: r.info.Epoch, Batch: r.info.Batch, Offsets: r.info.Offsets, Plan: r.info.Plan, ContentHash: r.info.ContentHash, Watermarks: r.info.Watermarks}
	taken := map[int]bool{}
	return r.eachFileSink(func(_ int, s *filesink.Sink, t microbatch.Target) error {
		i := 0
		for i < len(index) && (taken[i] || index[i].Output != t.Output.Name || !reflect.DeepEqual(index[i].Layout, s.Layout())) {
			i++
		}
		if i == len(index) {
			return fmt.Errorf("the savepoint has no files of view %s in the format of %s\nhint: give the sink the options that it had; %s has them", t.Output.Name, s.Dir(), savepoint.SQLFile)
		}
		taken[i] = true
		return s.Restore(ctx, r.Name, t, filesink.RestorePoint{Ledger: at, Of: index[i],
			Open: func(path string) (io.ReadCloser, error) { return r.info.Reader(vfs.OS{}, r.dir, filesOf(i)+path) }})
	})
}
