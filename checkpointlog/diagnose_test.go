package checkpointlog

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// TestDiagnoseNamesTheFlippedByte flips a bit in every byte of a segment, a snapshot and the manifest: what
// Verify refuses, Diagnose explains with exactly that byte and what it was.
func TestDiagnoseNamesTheFlippedByte(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{SegmentBytes: 1500})
	for b := int64(1); b <= 3; b++ {
		must(t, runBatch(l, b, 1))
	}
	must(t, takeSnapshot(l, 3, 1))
	must(t, l.Close())
	for _, name := range []string{manifestName, segmentName(1), segmentName(2), snapshotName(3)} {
		path := filepath.Join(testDir, name)
		whole := readAll(t, fsys, path)
		refused := 0
		for off := range int64(len(whole)) {
			c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
			flip(t, c, path, off)
			now := readAll(t, c, path)
			_, err := Verify(testDir, c)
			var bad *CorruptError
			if !errors.As(err, &bad) || bad.Path != path {
				continue // a torn tail, or a version that does not exist
			}
			refused++
			d := Diagnose(c, bad)
			if !d.Exact && (name != manifestName || off >= int64(len(manifestMagic))) {
				t.Fatalf("%s: flip at %d: %v (%v)", name, off, d, bad)
			}
			if want := [2]byte{whole[off], now[off]}; d.Offset != off && d.Exact {
				t.Fatalf("%s: flip at %d of %x: %v", name, off, want, d)
			}
		}
		if refused < len(whole)/2 {
			t.Errorf("%s: only %d of %d flips were refused", name, refused, len(whole))
		}
	}
}
