package checkpointstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/failpoint"
)

var fpBeforeDelete = failpoint.New("mirror.before_delete")

// collect deletes what the manifest no longer names: objects of this engine, and, once, all of older ones.
// A failure costs space only, and is tried again.
func (m *Mirror) collect(ctx context.Context) {
	if m.published == nil {
		return
	}
	if err := m.deleteOwn(ctx); err != nil {
		m.failed(err)
		return
	}
	m.mu.Lock()
	swept := m.swept
	m.mu.Unlock()
	if swept {
		return
	}
	if err := m.deleteOlder(ctx); err != nil {
		m.failed(err)
		return
	}
	m.mu.Lock()
	m.swept = true
	m.mu.Unlock()
}

// deleteOwn deletes what this engine stored and neither the manifest names nor a later one will.
func (m *Mirror) deleteOwn(ctx context.Context) error {
	m.mu.Lock()
	keep := map[string]bool{}
	for _, c := range m.files {
		maps.Copy(keep, c.trying)
		for _, o := range c.Objects {
			keep[o.Key] = true
		}
	}
	var dead []string
	for key, since := range m.stored {
		switch {
		case m.published.keys[key] || keep[key]:
		case since.IsZero():
			m.stored[key] = time.Now()
		case time.Since(since) >= m.opt.KeepUnnamed:
			dead = append(dead, key)
		}
	}
	m.mu.Unlock()
	for _, key := range dead {
		if err := m.delete(ctx, key); err != nil {
			return err
		}
		m.mu.Lock()
		delete(m.stored, key)
		m.mu.Unlock()
	}
	return nil
}

func (m *Mirror) delete(ctx context.Context, key string) error {
	if err := fpBeforeDelete.Hit(); err != nil {
		return err
	}
	return m.b.remove(ctx, m.root+key)
}

// deleteOlder deletes what older engines left. This engine's manifest names none of it.
//
// Why the manifests go first: one that names objects which are not there must not be found.
func (m *Mirror) deleteOlder(ctx context.Context) error {
	for _, dir := range []string{manifestDir, objectDir} {
		found, err := m.b.list(ctx, m.root+dir)
		if err != nil {
			return err
		}
		for _, e := range found {
			ns, ok := namespaceOf(m.root, e.key)
			if !ok || ns.epoch >= m.ns.epoch {
				continue
			}
			if err := m.delete(ctx, e.key[len(m.root):]); err != nil {
				return err
			}
		}
	}
	return nil
}

// newest reads the manifest of the newest engine; nil if there is none. Any damage is an error.
func newest(ctx context.Context, b *bucket, root string) (*manifest, error) {
	found, err := b.list(ctx, root+manifestDir)
	if err != nil {
		return nil, err
	}
	var best *manifest
	slices.SortFunc(found, func(a, b entry) int { return strings.Compare(b.key, a.key) })
	for _, e := range found {
		ns, ok := namespaceOf(root, e.key)
		if !ok || best != nil && ns.epoch < best.ns.epoch {
			continue
		}
		m, err := readManifest(ctx, b, e)
		if err != nil {
			return nil, err
		}
		if m.ns = ns; best == nil || m.Prepared > best.Prepared {
			best = m
		}
	}
	return best, nil
}

func readManifest(ctx context.Context, b *bucket, e entry) (*manifest, error) {
	var doc buffer
	if err := b.get(ctx, e.key, e.bytes, &doc); err != nil {
		return nil, err
	}
	m, err := decodeManifest(doc)
	if err != nil {
		return nil, fmt.Errorf("s3://%s/%s is damaged: %w", b.at.Bucket, e.key, err)
	}
	m.key = e.key
	return m, nil
}

type buffer []byte

func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
