package checkpointstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"time"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// RestoreOptions say what to restore.
type RestoreOptions struct {
	// Locations are looked at all; of copies that are equally new the first is taken.
	Locations []Location
	Pipeline  string
	// LogDir and Others are what Options has; they are made anew.
	LogDir string
	Others []Directory
	// FS holds the directories. Defaults to the machine's.
	FS vfs.FS
	// RequestTimeout bounds a request without much data. Defaults to 30 seconds.
	RequestTimeout time.Duration
	// MaxWait bounds the time between two tries. Defaults to 10 seconds.
	MaxWait time.Duration
	// Logger gets copies that cannot be used. Defaults to slog.Default.
	Logger *slog.Logger
	// OnBytes is told how many bytes are there, and of how many. Defaults to nobody.
	OnBytes func(done, total int64)
}

// Copy describes what a bucket holds.
type Copy struct {
	Location Location
	// Prepared is the newest batch of the copy, WrittenAt when it was made.
	Prepared  int64
	Epoch     int64
	WrittenAt time.Time
	Bytes     int64

	b        *bucket
	root     string
	manifest *manifest
}

func (o *RestoreOptions) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.MaxWait == 0 {
		o.MaxWait = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Find looks for the copies of a pipeline's log, the newest first. A location that cannot be read is an
// error only if there is no other to read.
func Find(ctx context.Context, o RestoreOptions) ([]Copy, error) {
	o.setDefaults()
	var copies []Copy
	var errs []error
	for _, at := range o.Locations {
		c, err := find(ctx, o, at)
		switch {
		case err != nil:
			errs = append(errs, err)
			o.Logger.Warn("a copy of the log cannot be looked at", "pipeline", o.Pipeline, "location", at.String(), "error", err)
		case c != nil && (len(copies) == 0 || copies[0].newer(*c)):
			copies = append(copies, *c)
		case c != nil:
			copies = append([]Copy{*c}, copies...)
		}
	}
	if len(errs) == len(o.Locations) {
		return nil, errors.Join(errs...)
	}
	return copies, nil
}

// newer says that another copy is not newer than this one.
func (c Copy) newer(than Copy) bool {
	return c.Epoch > than.Epoch || c.Epoch == than.Epoch && c.Prepared >= than.Prepared
}

func find(ctx context.Context, o RestoreOptions, at Location) (*Copy, error) {
	b, err := newBucket(at, o.RequestTimeout)
	if err != nil {
		return nil, err
	}
	if err := b.checkCredentials(); err != nil {
		return nil, err
	}
	root := at.root(o.Pipeline)
	var m *manifest
	err = retrying(ctx, o.MaxWait, func() (err error) { m, err = newest(ctx, b, root); return err })
	if err != nil || m == nil {
		return nil, err
	}
	if m.Pipeline != o.Pipeline {
		return nil, fmt.Errorf("%s holds the log of pipeline %q, not of %q\nHint: give each pipeline its own prefix", at, m.Pipeline, o.Pipeline)
	}
	c := &Copy{Location: at, Prepared: m.Prepared, Epoch: m.Epoch, WrittenAt: m.WrittenAt, b: b, root: root, manifest: m}
	for _, f := range m.Files {
		c.Bytes += f.bytes()
	}
	return c, nil
}

// Restore makes the log's directory from the newest copy that is whole, and returns it; nil if there is
// none. What stands in the directories' places is set aside, not deleted. Nothing is there before everything
// is, checked byte by byte and record by record.
func Restore(ctx context.Context, o RestoreOptions) (*Copy, error) {
	o.setDefaults()
	s, err := newStage(o)
	if err != nil {
		return nil, err
	}
	defer s.close()
	// Why again: an engine that still runs replaces objects by others; its newest manifest names those.
	for try := 1; ; try++ {
		copies, err := Find(ctx, o)
		if err != nil || len(copies) == 0 {
			return nil, err
		}
		c, err := s.best(ctx, copies)
		if err == nil {
			return c, s.publish()
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if try == maxTries || !missing(err) {
			return nil, err
		}
	}
}

// best fills the stage from the first of the copies that is whole.
func (s *stage) best(ctx context.Context, copies []Copy) (*Copy, error) {
	var errs []error
	for _, c := range copies {
		err := s.fill(ctx, c)
		if err == nil {
			err = s.verify()
		}
		if err == nil || ctx.Err() != nil {
			return &c, err
		}
		errs = append(errs, fmt.Errorf("restore the log from %s: %w", c.Location, err))
		s.o.Logger.Warn("a copy of the log cannot be used", "pipeline", s.o.Pipeline, "location", c.Location.String(), "error", err)
	}
	return nil, errors.Join(errs...)
}

// download writes a file's objects to w, each checked against its sum.
func (c *Copy) download(ctx context.Context, f file, w *writerAt, maxWait time.Duration) error {
	for _, o := range f.Objects {
		err := retrying(ctx, maxWait, func() error {
			if err := fpRestoreObject.Hit(); err != nil {
				return err
			}
			w.begin(o.From)
			if err := c.b.get(ctx, c.root+o.Key, o.Bytes, w); err != nil {
				return err
			}
			if sum := hex.EncodeToString(w.sum.Sum(nil)); sum != o.SHA256 {
				return fmt.Errorf("s3://%s/%s%s is damaged: its SHA-256 is %s, not %s", c.Location.Bucket, c.root, o.Key, sum, o.SHA256)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// writerAt writes a file from a position on, again if need be.
type writerAt struct {
	f    vfs.File
	at   int64
	sum  hash.Hash
	told func(bytes int64)
}

func (w *writerAt) begin(at int64) {
	if w.at > at {
		w.told(at - w.at) // the try before is worth nothing
	}
	w.at, w.sum = at, sha256.New()
}

func (w *writerAt) Write(p []byte) (int, error) {
	n, err := w.f.WriteAt(p, w.at)
	w.at += int64(n)
	w.sum.Write(p[:n])
	w.told(int64(n))
	return n, err
}

var _ io.Writer = (*writerAt)(nil)
