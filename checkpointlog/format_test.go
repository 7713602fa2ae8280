package checkpointlog

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-sql/sluice/internal/vfs"
)

var update = flag.Bool("update", false, "write testdata/format-v<FormatVersion>, which is done once for each version")

// TestEveryFormatVersionOpens opens a log kept from each released version of the format: seven batches,
// snapshots of 3 and 6. Since version 2 that of 6 is a delta on 5's, and that on 3's.
func TestEveryFormatVersionOpens(t *testing.T) {
	if *update {
		writeFormat(t, filepath.Join("testdata", fmt.Sprintf("format-v%d", FormatVersion)))
	}
	for version := 1; version <= FormatVersion; version++ {
		dir := filepath.Join("testdata", fmt.Sprintf("format-v%d", version))
		entries, err := os.ReadDir(dir)
		must(t, err)
		fsys := vfs.NewMem()
		must(t, fsys.MkdirAll(testDir))
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			must(t, err)
			must(t, writeSynced(fsys, filepath.Join(testDir, e.Name()), b))
		}
		if _, err := Verify(testDir, fsys); err != nil {
			t.Errorf("version %d: %v", version, err)
		}
		l, rec := openLog(t, fsys, Options{})
		if rec.Snapshot == nil || rec.Snapshot.Batch != 6 || rec.Header.FormatVersion != version || rec.Torn != nil {
			t.Errorf("version %d: %+v", version, rec)
		}
		must(t, checkRecovered(rec, 7))
		must(t, runBatch(l, 8, 2))
		must(t, l.Close())
	}
}

func writeFormat(t *testing.T, dir string) {
	must(t, os.RemoveAll(dir))
	l, _, err := Open(dir, testHeader, Options{SegmentBytes: 1500})
	must(t, err)
	for b := int64(1); b <= 7; b++ {
		must(t, runBatch(l, b, 1))
		switch b {
		case 3:
			must(t, takeSnapshot(l, b, 1))
		case 5, 6:
			must(t, takeDelta(l, b, 1, 0))
		}
	}
	must(t, l.Close())
	must(t, os.Remove(filepath.Join(dir, lockName)))
}
