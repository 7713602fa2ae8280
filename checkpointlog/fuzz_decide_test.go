package checkpointlog

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// FuzzResolveSinks: whatever any number of sinks say, nothing is decided that one of them alone would refuse,
// and nothing is committed that some sink lacks and has not staged. A sink is two bytes: how far its ledger is
// from the log's last batch, and flags.
func FuzzResolveSinks(f *testing.F) {
	f.Add(int64(5), int64(4), int64(0), []byte{0, 0x02, 0xff, 0x03})
	f.Add(int64(5), int64(5), int64(4), []byte{0, 0x02, 0, 0x0a})
	f.Add(int64(1), int64(0), int64(0), []byte{0xff, 0x02, 0xff, 0x03, 0, 0x02})
	f.Add(int64(0), int64(0), int64(0), []byte{0, 0})
	f.Fuzz(func(t *testing.T, p, c, snapshot int64, said []byte) {
		if p < 0 || p > 1<<40 || len(said) > 32 {
			return
		}
		log := facts(p, c, 0).Log
		log.Snapshot = snapshot
		var sinks []SinkFacts
		for ; len(said) >= 2; said = said[2:] {
			s := SinkFacts{Staged: said[1]&1 != 0}
			s.Ledger = LedgerFacts{Found: said[1]&2 != 0, Batch: p + int64(int8(said[0])), Epoch: int64(said[1]>>4) + 1}
			if said[1]&4 != 0 {
				s.Ledger.ContentHash = "other"
			}
			if said[1]&8 != 0 && log.Prepared != nil {
				s.Ledger.ContentHash = ContentHash(log.Prepared)
			}
			sinks = append(sinks, s)
		}
		d, err := ResolveSinks("p1", log, sinks)
		if err != nil {
			return
		}
		for _, s := range sinks {
			alone, err := Resolve(Facts{Plan: "p1", Log: log, Ledger: s.Ledger, Staged: s.Staged})
			switch {
			case err != nil && d.Action != Refuse: // the sink before it may have been enough to refuse
				t.Fatalf("decided %v, though one sink's facts are impossible: %v", d.Action, err)
			case alone.Action == Refuse && d.Action != Refuse:
				t.Fatalf("decided to %v, though a sink refuses: %s", d.Action, alone.Reason)
			case d.Action == RollForward && s.Ledger.Batch < d.Batch && !s.Staged:
				t.Fatalf("rolled forward, though a sink has neither the batch nor its rows: %+v", s)
			case d.Action == Resume && s.Ledger.Batch != p, d.Action == Start && s.Ledger.Batch != 0:
				t.Fatalf("decided to %v with a ledger at %d of %d", d.Action, s.Ledger.Batch, p)
			}
		}
		if d.Action == Refuse && d.Err() == nil || d.Permit.Valid() != (d.Action == RollForward) {
			t.Fatalf("%+v", d)
		}
	})
}

// FuzzRepair repairs logs with arbitrary bytes for a segment, sealed or the last, and from arbitrary batches on.
// What a repair has done opens, ends where it was told to, and needs no second one.
func FuzzRepair(f *testing.F) {
	whole := repairLog(f, true)
	for n, seq := range []uint64{1, 2, 3} {
		b := readAll(f, whole, filepath.Join(testDir, segmentName(seq)))
		f.Add(b, seq, int64(0), false)
		f.Add(b[:len(b)*2/3], seq, int64(3*n+2), false)
		b[len(b)/2] ^= 4
		f.Add(b, seq, int64(3*n+1), n == 1)
	}
	f.Fuzz(func(t *testing.T, segment []byte, seq uint64, from int64, repaired bool) {
		path := filepath.Join(testDir, segmentName(seq%4))
		c := whole.CrashClone(vfs.Crash{KeepPercent: 100})
		if repaired {
			segment = fixChecksums(segment)
		}
		must(t, writeSynced(c, path, segment))
		if _, err := Verify(testDir, c); err != nil {
			var bad *CorruptError
			if errors.As(err, &bad) {
				_ = Diagnose(c, bad).String()
			}
		}
		p, err := PlanRepair(testDir, c, from)
		if err != nil {
			return
		}
		if _, err := p.Apply(); err != nil {
			t.Fatalf("planned and not applied: %v", err)
		}
		l, rec, err := Open(testDir, testHeader, Options{FS: c})
		if err != nil {
			if p.From > 0 && !strings.Contains(err.Error(), "holds the log of pipeline") {
				t.Fatalf("from %d: the repaired log does not open: %v", from, err)
			}
			return // its last word, or the segment's header, is another pipeline's
		}
		if last := rec.Facts().preparedBatch(); from > 0 && last != from-1 || rec.Torn != nil {
			t.Fatalf("from %d: ends with batch %d, torn %v", from, last, rec.Torn)
		}
		must(t, l.Close())
		if p, err = PlanRepair(testDir, c, 0); err != nil || p.Needed() {
			t.Fatalf("a second repair: %+v, %v", p, err)
		}
	})
}

// FuzzManifest: no bytes make the manifest's reader panic, and what it accepts it writes the same again.
func FuzzManifest(f *testing.F) {
	whole := repairLog(f, true)
	b := readAll(f, whole, filepath.Join(testDir, manifestName))
	f.Add(b, false)
	f.Add(b[:len(b)/2], true)
	f.Add([]byte(manifestMagic+"00000000\n{\"segments\":[{\"seq\":1}]}\n"), true)
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if repair {
			b = fixManifest(b)
		}
		c := whole.CrashClone(vfs.Crash{KeepPercent: 100})
		must(t, writeSynced(c, filepath.Join(testDir, manifestName), b))
		if _, err := Verify(testDir, c); err != nil {
			var bad *CorruptError
			if errors.As(err, &bad) {
				_ = Diagnose(c, bad).String()
			}
		}
		m, err := decodeManifest(b)
		if err != nil {
			return
		}
		again, err := encodeManifest(*m)
		must(t, err)
		if m2, err := decodeManifest(again); err != nil || same(m, m2) != nil {
			t.Fatalf("%+v became %+v, %v", m, m2, err)
		}
	})
}

// FuzzDeltaSnapshotReader is FuzzSnapshotReader for a snapshot that stands on another.
func FuzzDeltaSnapshotReader(f *testing.F) {
	fsys := vfs.NewMem()
	l, _ := openLog(f, fsys, Options{})
	must(f, runBatch(l, 1, 1))
	must(f, takeSnapshot(l, 1, 1))
	must(f, runBatch(l, 2, 1))
	must(f, takeDelta(l, 2, 1, 1<<20))
	must(f, l.Close())
	path := filepath.Join(testDir, snapshotName(2))
	whole := readAll(f, fsys, path)
	f.Add(whole, false)
	f.Add(whole, true)
	f.Add(whole[:len(whole)-30], true)
	f.Fuzz(func(t *testing.T, snapshot []byte, repair bool) {
		if repair {
			snapshot = fixChecksums(snapshot)
		}
		c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
		must(t, writeSynced(c, path, snapshot))
		_, rec, err := Open(testDir, testHeader, Options{FS: c})
		if errors.Is(err, ErrVersion) {
			return
		}
		if err != nil {
			t.Fatalf("a damaged snapshot must be passed over, since the log goes back to batch 1: %v", err)
		}
		if last := rec.Facts().preparedBatch(); last != 2 {
			t.Fatalf("%+v", rec.Facts())
		}
		_, _ = readState(rec)
	})
}

// fixManifest makes the checksum in the first line right.
func fixManifest(b []byte) []byte {
	_, body, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return b
	}
	return append(fmt.Appendf(nil, "%s%08x\n", manifestMagic, crc32.Checksum(body, castagnoli)), body...)
}
