package checkpointstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
)

var (
	fpBeforeObject   = failpoint.New("mirror.before_object")
	fpAfterObject    = failpoint.New("mirror.after_object")
	fpBeforeManifest = failpoint.New("mirror.before_manifest")
	fpAfterManifest  = failpoint.New("mirror.after_manifest")
)

// copying is a local file and the objects that it is in the bucket so far.
//
// Invariant: a growing file's objects are changed by a pass only; those of a sealed segment that a pass has
// completed, and of a snapshot, by the bulk's goroutine only. Both do so, and read the other's, under mu.
type copying struct {
	file
	path     string
	snapshot bool
	// size is the final one of a sealed file, which is to be one object, 0 of one that grows; whole says that it is one.
	size  int64
	whole bool
	// trying are keys that are being stored, or were tried; nobody must delete them.
	trying map[string]bool
}

// set replaces the objects; mu is held.
func (c *copying) set(objects []object) {
	c.Objects = objects
	clear(c.trying)
}

// runTail uploads the log's growing end and publishes manifests.
func (m *Mirror) runTail(ctx context.Context) {
	defer m.done.Done()
	b := backoff{max: m.opt.MaxWait}
	last := time.Now().Add(-m.opt.Interval)
	for {
		idle := time.NewTimer(max(m.opt.Interval, time.Second))
		select {
		case <-ctx.Done():
		case <-m.wake:
		case <-idle.C: // a snapshot was published, or a mark had no successor
		}
		idle.Stop()
		if m.opt.Sync != Batch && !wait(ctx, time.Until(last.Add(m.opt.Interval))) || ctx.Err() != nil {
			return
		}
		last = time.Now()
		if err := m.pass(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			m.failed(err)
			if !wait(ctx, b.next()) {
				return
			}
			signal(m.wake)
			continue
		}
		b.reset()
	}
}

// pass uploads what the log has become since the last one.
func (m *Mirror) pass(ctx context.Context) error {
	m.tail.Lock()
	defer m.tail.Unlock()
	m.mu.Lock()
	joined, fatal := m.joined, m.fatal
	m.mu.Unlock()
	if fatal != nil {
		return nil
	}
	if !joined {
		if err := m.join(ctx); err != nil {
			m.broadcast()
			return err
		}
	}
	live, err := m.segments(ctx)
	if err != nil {
		return err
	}
	others, err := m.others(ctx)
	if err != nil {
		return err
	}
	for _, f := range live.Snapshots {
		c := m.tracked(f.Name, f.Bytes)
		m.mu.Lock()
		c.snapshot = true
		m.mu.Unlock()
	}
	if err := m.publish(ctx, live, others); err != nil {
		return err
	}
	m.prune(live, others)
	signal(m.bulk)
	m.succeeded()
	m.collect(ctx)
	return nil
}

// segments uploads the segments as far as they are durable.
func (m *Mirror) segments(ctx context.Context) (checkpointlog.Live, error) {
	live := m.log.Live()
	for i, f := range live.Segments {
		sealed := f.Bytes
		if i == len(live.Segments)-1 {
			sealed = 0
		}
		err := m.extend(ctx, m.tracked(f.Name, sealed), f.Bytes)
		if errors.Is(err, fs.ErrNotExist) && !slices.Contains(m.log.Live().Segments, f) {
			return m.segments(ctx) // retention was faster; there are fewer now
		}
		if err != nil {
			return live, err
		}
	}
	return live, nil
}

// tracked finds or makes the state of a file of the log; sealed is its final size, 0 while it grows.
func (m *Mirror) tracked(name string, sealed int64) *copying {
	return m.track("log/"+name, filepath.Join(m.opt.LogDir, name), sealed)
}

func (m *Mirror) track(name, path string, sealed int64) *copying {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.files[name]
	if c == nil {
		c = &copying{file: file{Name: name}, path: path, trying: map[string]bool{}}
		m.files[name] = c
	}
	c.size = sealed
	return c
}

// others uploads the files beside the log. Why after the log was looked at: what a batch read is in them
// before the batch is in the log, so they are never behind.
func (m *Mirror) others(ctx context.Context) (names []string, err error) {
	for _, d := range m.opt.Others {
		found, err := walk(m.opt.FS, d.Path, d.Suffix)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", d.Path, err)
		}
		for _, rel := range found {
			c := m.track(path.Join(d.Name, filepath.ToSlash(rel)), filepath.Join(d.Path, rel), 0)
			size, err := sizeOf(m.opt.FS, c.path)
			if err != nil {
				return nil, err
			}
			if err := m.extend(ctx, c, size); err != nil {
				return nil, err
			}
			names = append(names, c.Name)
		}
	}
	return names, nil
}

// walk lists the files below a directory whose names end so; it lists none if there is no directory.
func walk(fsys vfs.FS, dir, suffix string) (out []string, err error) {
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			out = append(out, name)
			continue
		}
		below, err := walk(fsys, filepath.Join(dir, name), suffix)
		if err != nil {
			continue // a file of another kind
		}
		for _, b := range below {
			out = append(out, filepath.Join(name, b))
		}
	}
	return out, err
}

func sizeOf(fsys vfs.FS, path string) (int64, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return 0, err
	}
	size, err := f.Size()
	return size, errors.Join(err, f.Close())
}

// extend uploads a file's bytes up to size.
func (m *Mirror) extend(ctx context.Context, c *copying, size int64) error {
	have, err := m.adopted(ctx, c, size)
	if err != nil || (file{Objects: have}).bytes() >= size {
		return err
	}
	keep, level := nextPart(have)
	o, err := m.upload(ctx, c, file{Objects: have[:keep]}.bytes(), size)
	if err != nil {
		return err
	}
	o.level = level
	m.mu.Lock()
	defer m.mu.Unlock()
	c.set(append(slices.Clone(have[:keep]), o))
	return nil
}

// adopted returns a file's objects. The first time it takes over those that the engine before this one
// uploaded, as far as they hold what the file holds, as copies of its own.
//
// Why copies: the older engine may still run, and delete its objects when they are of no more use to it.
func (m *Mirror) adopted(ctx context.Context, c *copying, size int64) ([]object, error) {
	m.mu.Lock()
	have, before := c.Objects, m.before[c.Name]
	m.mu.Unlock()
	if len(have) > 0 || len(before) == 0 {
		return have, nil
	}
	for _, old := range before {
		if old.From+old.Bytes > size {
			break // its log ended otherwise, and was cut
		}
		sum, err := m.sum(c, old.From, old.From+old.Bytes)
		if err != nil {
			return nil, err
		}
		if sum != old.SHA256 {
			break
		}
		o := old
		o.Key = m.key(c.Name, o)
		err = m.store(c, o, func() error { return m.b.copy(ctx, m.root+old.Key, m.root+o.Key, o.Bytes) })
		if err != nil && !cannot(err) {
			return nil, err
		}
		if err != nil {
			break // gone, or too large to be copied: it is uploaded instead
		}
		have = append(have, o)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.before, c.Name)
	c.set(have)
	return have, nil
}

// key names an object by its engine, place and content, so that a repeated upload writes the same again.
func (m *Mirror) key(name string, o object) string {
	return fmt.Sprintf("%s%s/%s/%016d-%016d-%s", objectDir, m.ns, name, o.From, o.From+o.Bytes, o.SHA256[:16])
}

// sum is the checksum of a range of a file.
func (m *Mirror) sum(c *copying, from, to int64) (string, error) {
	f, err := m.opt.FS.Open(c.path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f, from, to-from))
	if err = errors.Join(err, f.Close()); err == nil && n != to-from {
		err = fmt.Errorf("%s has %d bytes after byte %d, want %d: %w", c.path, n, from, to-from, io.ErrUnexpectedEOF)
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// upload puts a range of a file.
func (m *Mirror) upload(ctx context.Context, c *copying, from, to int64) (object, error) {
	o := object{From: from, Bytes: to - from}
	var err error
	if o.SHA256, err = m.sum(c, from, to); err != nil {
		return o, err
	}
	o.Key = m.key(c.Name, o)
	f, err := m.opt.FS.Open(c.path)
	if err != nil {
		return o, err
	}
	err = m.store(c, o, func() error { return m.b.put(ctx, m.root+o.Key, io.NewSectionReader(f, from, to-from), o.Bytes) })
	return o, errors.Join(err, f.Close())
}

// store makes an object, and remembers before it tries that there may be one.
func (m *Mirror) store(c *copying, o object, put func() error) error {
	m.mu.Lock()
	m.stored[o.Key], c.trying[o.Key] = time.Time{}, true
	m.mu.Unlock()
	if err := fpBeforeObject.Hit(); err != nil {
		return err
	}
	if err := put(); err != nil {
		return err
	}
	m.mu.Lock()
	m.status.UploadedBytes += o.Bytes
	m.mu.Unlock()
	return fpAfterObject.Hit()
}
