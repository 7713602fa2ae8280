package checkpointlog

import (
	"fmt"
	"slices"
)

// Live is what the log consists of at one instant, as far as it is durable, for who copies it elsewhere.
type Live struct {
	// Segments are in order; the last is still written to. Snapshots never change.
	Segments, Snapshots []LiveFile
	// Prepared is the newest batch whose Prepared is in the segments up to their Bytes.
	Prepared int64
	// Appended counts the bytes up to there that were appended since the log was opened.
	Appended int64

	manifest manifest
}

// LiveFile is a file of the log's directory. Its first Bytes bytes are durable and never change.
type LiveFile struct {
	Name  string
	Bytes int64
}

// Live returns what there is to copy. Files other than the segment written to may be deleted by retention
// later; a Pin keeps segments.
func (l *Log) Live() Live {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := Live{manifest: l.manifest.clone(), Prepared: l.durable, Appended: l.appended()}
	for i, s := range l.manifest.Segments {
		bytes := s.Bytes
		if i == len(l.manifest.Segments)-1 {
			bytes = l.active.synced
		}
		v.Segments = append(v.Segments, LiveFile{segmentName(s.Seq), bytes})
	}
	for _, s := range l.manifest.Snapshots {
		v.Snapshots = append(v.Snapshots, LiveFile{snapshotName(s.Batch), s.Bytes})
	}
	return v
}

// Appended is Live's, without the rest.
func (l *Log) Appended() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appended()
}

// appended counts durable bytes; mu is held.
func (l *Log) appended() int64 { return l.AppendedBytes() - (l.active.size - l.active.synced) }

// A LiveCopy is a log directory to be made elsewhere: the files, and the manifest that names them.
type LiveCopy struct {
	Files []LiveFile
	// Manifest is the content of the directory's file MANIFEST.
	Manifest []byte
	// Prepared is the newest batch that the copy has, Snapshot that of its newest snapshot; 0 for none.
	Prepared, Snapshot int64

	manifest manifest
}

// Copy describes the copy of v that has all its segments and those snapshots that were copied so far: the
// ones that copied knows, or else those of last, the copy before this one, whose files are then still
// needed. It is nil as long as that is not enough to open the copy; last is nil for the first one.
//
// Invariant: a copy's segments begin no later than right after its newest snapshot. Why it holds: the Pin of
// who makes copies is at the last one's newest snapshot, so v has every segment from there on; and without
// a last one all snapshots are waited for, or the segments go back to batch 1.
func (v Live) Copy(copied func(name string) bool, last *LiveCopy) *LiveCopy {
	m := v.manifest.clone()
	m.Snapshots = v.manifest.copied(copied)
	switch newest := newestOf(m.Snapshots); {
	case len(m.Snapshots) == len(v.manifest.Snapshots):
	case last != nil && newest < newestOf(last.manifest.Snapshots):
		m.Snapshots = last.manifest.Snapshots
		m.Segments = joined(last.manifest.Segments, m.Segments)
	case last == nil && m.Segments[0].Seq > 1:
		return nil
	}
	doc, err := encodeManifest(m)
	if err != nil {
		panic(fmt.Sprintf("checkpointlog: a manifest that was decoded cannot be encoded: %v", err))
	}
	c := &LiveCopy{Manifest: doc, Prepared: v.Prepared, Snapshot: newestOf(m.Snapshots), manifest: m}
	for _, s := range m.Segments {
		bytes := s.Bytes
		if bytes == 0 {
			bytes = v.Segments[len(v.Segments)-1].Bytes
		}
		c.Files = append(c.Files, LiveFile{segmentName(s.Seq), bytes})
	}
	for _, s := range m.Snapshots {
		c.Files = append(c.Files, LiveFile{snapshotName(s.Batch), s.Bytes})
	}
	return c
}

// copied lists the snapshots that were copied with all that they are relative to.
func (m *manifest) copied(has func(name string) bool) (out []snapshotRef) {
	for _, chain := range m.chains() {
		for _, s := range chain {
			if !has(snapshotName(s.Batch)) {
				break
			}
			out = append(out, s)
		}
	}
	return out
}

func newestOf(snapshots []snapshotRef) int64 {
	if len(snapshots) == 0 {
		return 0
	}
	return snapshots[len(snapshots)-1].Batch
}

// joined puts the segments that only older has before those of newer. Where they do not meet, newer is all.
func joined(older, newer []segmentRef) []segmentRef {
	first := newer[0].Seq
	i := slices.IndexFunc(older, func(s segmentRef) bool { return s.Seq >= first })
	if i < 0 {
		if i = len(older); older[i-1].Seq != first-1 || older[i-1].Bytes == 0 {
			return newer
		}
	}
	return append(slices.Clone(older[:i]), newer...)
}

// A Pin keeps segments from being deleted that a copy of the log does not have yet.
type Pin struct {
	log   *Log
	batch int64
}

// Pin makes retention keep every segment with a record about a batch after the pin's, which is 0 until Set.
func (l *Log) Pin() *Pin {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &Pin{log: l}
	l.pins = append(l.pins, p)
	return p
}

// Set moves the pin: the copy's newest snapshot is of that batch.
func (p *Pin) Set(batch int64) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.batch = batch
}

// pinned is the least of the pins, and batch if there is none before it; mu is held.
func (l *Log) pinned(batch int64) int64 {
	for _, p := range l.pins {
		batch = min(batch, p.batch)
	}
	return batch
}
