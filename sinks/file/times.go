package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
)

// A BatchTime is when a batch was planned, and how far it read.
type BatchTime struct {
	Batch   int64           `json:"batch"`
	At      time.Time       `json:"at"`
	Offsets json.RawMessage `json:"offsets"`
}

const timesName = "batch_time"

func (s *Sink) timesPath() string { return filepath.Join(s.o.Dir, workDir, timesName) }

func (b BatchTime) line() ([]byte, error) {
	line, err := json.Marshal(b)
	return append(line, '\n'), err
}

// keepTime appends to .sluice/batch_time, which has a line a batch, for pipelines with a batch_time column whose
// dead letters this sink keeps. It returns the file's length, which goes into the ledger.
//
// Invariant: only what the ledger counts is there. A line whose batch was not committed after all is cut off by
// the next attempt.
func (s *Sink) keepTime(size, batch int64, c microbatch.CommitInfo) (_ int64, err error) {
	if !c.KeepBatchTime || !s.o.DeadLetters {
		return size, nil
	}
	line, err := BatchTime{batch, c.PlannedAt.UTC(), c.Offsets}.line()
	if err != nil {
		return 0, err
	}
	open := s.fs.OpenAppend
	if size == 0 {
		open = s.fs.Create
	}
	f, err := open(s.timesPath())
	if err != nil {
		return 0, err
	}
	err = appendAt(f, size, line)
	if err = errors.Join(err, f.Close()); err == nil && size == 0 {
		err = s.fs.SyncDir(filepath.Dir(s.timesPath()))
	}
	return size + int64(len(line)), err
}

func appendAt(f vfs.File, size int64, line []byte) error {
	if have, err := f.Size(); err != nil || have < size {
		return errors.Join(err, errShortTimes(have, size))
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	if _, err := f.WriteAt(line, size); err != nil {
		return err
	}
	return f.Sync()
}

func errShortTimes(have, want int64) error {
	if have >= want {
		return nil
	}
	return fmt.Errorf("%w: the batch times have %d bytes, and the ledger counts %d", ErrDisagree, have, want)
}

// readTimes reads what the ledger counts.
func (s *Sink) readTimes(size int64) (out []BatchTime, err error) {
	if size == 0 {
		return nil, nil
	}
	f, err := s.fs.Open(s.timesPath())
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, size))
	if err = errors.Join(err, f.Close(), errShortTimes(int64(len(text)), size)); err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var b BatchTime
		if err := json.Unmarshal(line, &b); err != nil {
			return nil, fmt.Errorf("%s is damaged: %w", s.timesPath(), err)
		}
		out = append(out, b)
	}
	return out, nil
}
