package checkpointstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
)

// published is the manifest that stands.
type published struct {
	*checkpointlog.LiveCopy
	keys map[string]bool
	// appended is how much of the log it has, as Live counts it.
	appended int64
	doc      string // what was in it but its time, to know whether anything has changed
}

// publish writes the manifest of what was copied, if that is a log, and another one than before.
func (m *Mirror) publish(ctx context.Context, live checkpointlog.Live, others []string) error {
	next, doc, err := m.compose(live, others)
	if err != nil || next == nil {
		return err
	}
	if m.published == nil || m.published.doc != next.doc {
		doc.WrittenAt = time.Now().UTC()
		if err := m.putManifest(ctx, doc.encode()); err != nil {
			return err
		}
	}
	m.stands(next)
	return nil
}

// compose makes the manifest; nil while the snapshots that a first one needs are on their way.
func (m *Mirror) compose(live checkpointlog.Live, others []string) (*published, *manifest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var last *checkpointlog.LiveCopy
	if m.published != nil {
		last = m.published.LiveCopy
	}
	copied := live.Copy(func(name string) bool { c := m.files["log/"+name]; return c != nil && c.whole }, last)
	if copied == nil {
		return nil, nil, nil
	}
	doc := &manifest{Pipeline: m.opt.Pipeline, Epoch: m.ns.epoch, Prepared: copied.Prepared, Log: string(copied.Manifest)}
	for _, f := range copied.Files {
		c := m.files["log/"+f.Name]
		if c == nil || c.bytes() != f.Bytes {
			return nil, nil, fmt.Errorf("the copy of %s does not have the %d bytes that a manifest would name: %+v", f.Name, f.Bytes, c)
		}
		doc.Files = append(doc.Files, c.file)
	}
	for _, name := range others {
		doc.Files = append(doc.Files, m.files[name].file)
	}
	next := &published{LiveCopy: copied, keys: map[string]bool{}, appended: live.Appended, doc: string(doc.encode())}
	for _, f := range doc.Files {
		for _, o := range f.Objects {
			next.keys[o.Key] = true
		}
	}
	return next, doc, nil
}

func (m *Mirror) putManifest(ctx context.Context, doc []byte) error {
	if err := fpBeforeManifest.Hit(); err != nil {
		return err
	}
	if err := m.b.put(ctx, m.root+manifestDir+m.ns.String(), bytes.NewReader(doc), int64(len(doc))); err != nil {
		return err
	}
	return fpAfterManifest.Hit()
}

// stands takes note that a manifest is in force, and lets go who waited for it.
func (m *Mirror) stands(p *published) {
	m.pin.Set(p.Snapshot)
	m.mu.Lock()
	m.published = p
	m.status.Batch = p.Prepared
	m.base, m.owed = p.appended, 0
	m.pending = slices.DeleteFunc(m.pending, func(k mark) bool { return k.batch <= p.Prepared })
	m.mu.Unlock()
	m.broadcast()
}

func (m *Mirror) broadcast() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.changed)
	m.changed = make(chan struct{})
}

// prune forgets files that neither the log has nor the manifest names.
func (m *Mirror) prune(live checkpointlog.Live, others []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	keep := map[string]bool{}
	for _, f := range slices.Concat(live.Segments, live.Snapshots) {
		keep["log/"+f.Name] = true
	}
	if m.published != nil {
		for _, f := range m.published.Files {
			keep["log/"+f.Name] = true
		}
	}
	for _, name := range others {
		keep[name] = true
	}
	for name := range m.files {
		if !keep[name] {
			delete(m.files, name)
		}
	}
}
