package checkpointlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path/filepath"
	"testing"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// FuzzReader gives arbitrary bytes to everything that reads a segment, once as they are and once with
// the checksums of the frames made right, so that decoding is reached. Nothing may panic; whatever Open
// accepts must open again the same.
func FuzzReader(f *testing.F) {
	fsys, path := smallLog(f, true)
	whole := readAll(f, fsys, path)
	f.Add(whole, false)
	f.Add(whole[:len(whole)/2], false)
	f.Add(whole, true)
	f.Fuzz(func(t *testing.T, segment []byte, repair bool) {
		if repair {
			segment = fixChecksums(segment)
		}
		c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
		must(t, writeSynced(c, path, segment))
		for _, err := range Read(testDir, c) {
			if err != nil {
				break
			}
		}
		_, verifyErr := Verify(testDir, c)
		l, rec, err := Open(testDir, testHeader, Options{FS: c})
		if err != nil {
			return
		}
		if verifyErr != nil {
			t.Fatalf("Open accepts what Verify refuses: %v", verifyErr)
		}
		var batches int64
		err = rec.EachPrepared(func(*Prepared) error { batches++; return nil })
		if err != nil {
			var bad *CorruptError // compressed bytes are looked into only here
			if !errors.As(err, &bad) {
				t.Fatal(err)
			}
			return
		}
		if last := rec.Facts().preparedBatch(); last != batches {
			t.Fatalf("%d batches, the last is %d", batches, last)
		}
		must(t, l.Close())
		_, again := openLog(t, c, Options{})
		if again.Facts().preparedBatch() != batches || again.Torn != nil {
			t.Fatalf("opened again: %+v", again.Facts())
		}
	})
}

// fixChecksums walks the frames by their lengths and makes every checksum, chain and witness right.
func fixChecksums(b []byte) []byte {
	b = append([]byte(nil), b...)
	if len(b) < headFixedBytes {
		return b
	}
	at := headFixedBytes + int64(binary.LittleEndian.Uint32(b[12:]))
	if at+4 > int64(len(b)) {
		return b
	}
	seed := crc32.Checksum(b[:at], castagnoli)
	binary.LittleEndian.PutUint32(b[at:], seed)
	prev := seed
	for at += 4; at+frameHeaderBytes <= int64(len(b)); {
		end := at + frameHeaderBytes + int64(binary.LittleEndian.Uint32(b[at+4:]))
		if end > int64(len(b)) {
			break
		}
		binary.LittleEndian.PutUint32(b[at+8:], prev)
		binary.LittleEndian.PutUint64(b[at+16:], 0)
		prev = crc32.Update(seed, castagnoli, b[at+4:end])
		binary.LittleEndian.PutUint32(b[at:], prev)
		at = end
	}
	return b
}

// FuzzSnapshotReader does the same to a snapshot.
func FuzzSnapshotReader(f *testing.F) {
	fsys := vfs.NewMem()
	l, _ := openLog(f, fsys, Options{})
	must(f, runBatch(l, 1, 1))
	must(f, takeSnapshot(l, 1, 1))
	must(f, l.Close())
	path := filepath.Join(testDir, snapshotName(1))
	whole := readAll(f, fsys, path)
	f.Add(whole, false)
	f.Add(whole, true)
	f.Fuzz(func(t *testing.T, snapshot []byte, repair bool) {
		ref := snapshotRef{Batch: 1, Bytes: int64(len(snapshot))}
		if repair {
			snapshot = fixChecksums(snapshot)
		}
		c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
		must(t, writeSynced(c, path, snapshot))
		_, _ = readSnapshot(c, testDir, ref, func(b *block) error {
			_, err := b.appendRaw(nil)
			return err
		})
		_, rec, err := Open(testDir, testHeader, Options{FS: c})
		if errors.Is(err, ErrVersion) {
			return
		}
		if err != nil {
			t.Fatalf("a damaged snapshot must be passed over, since the log goes back to batch 1: %v", err)
		}
		if rec.Facts().preparedBatch() != 1 {
			t.Fatalf("%+v", rec.Facts())
		}
	})
}

// FuzzResolve: no facts make Resolve panic or decide to lose or repeat a batch.
func FuzzResolve(f *testing.F) {
	f.Add(int64(5), int64(4), int64(4), int64(0), int64(9), true, "", "p1", true, true)
	f.Add(int64(0), int64(0), int64(0), int64(0), int64(0), false, "x", "", false, false)
	f.Fuzz(func(t *testing.T, p, c, l, s, epoch int64, staged bool, hash, plan string, found, planned bool) {
		facts := Facts{Plan: plan, Staged: staged, Log: LogFacts{Plan: "p1", Committed: c, Snapshot: s, Epoch: 5}}
		facts.Ledger = LedgerFacts{Found: found, Batch: l, Epoch: epoch, ContentHash: hash}
		if p != 0 {
			facts.Log.Prepared = &Prepared{Batch: p, Epoch: 5}
			if planned {
				facts.Log.PreparedPlan = &Planned{Batch: p, Epoch: 5}
			}
		}
		d, err := Resolve(facts)
		if err != nil {
			return
		}
		if why := checkDecision(facts, d); why != "" {
			t.Fatalf("%s: %+v: %+v", why, facts, d)
		}
	})
}
