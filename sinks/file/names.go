package file

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

const (
	workDir        = ".sluice"
	batchPrefix    = "batch-"
	manifestName   = ".manifest"
	deadLetterName = ".dead_letter"
	// nullPartition is what Hive, Spark and DuckDB call the directory of NULL.
	nullPartition = "__HIVE_DEFAULT_PARTITION__"
)

func (s *Sink) ledgerPath() string { return filepath.Join(s.o.Dir, workDir, "ledger") }
func (s *Sink) lockPath() string   { return filepath.Join(s.o.Dir, workDir, "lock") }
func (s *Sink) stagingDir() string { return filepath.Join(s.o.Dir, workDir, "staging") }

// batchName sorts by number.
func batchName(batch int64) string { return fmt.Sprintf(batchPrefix+"%012d", batch) }

// batchOf is the inverse of batchName.
func batchOf(name string) (int64, bool) {
	digits, ok := strings.CutPrefix(name, batchPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil && n > 0 && batchName(n) == name
}

func (s *Sink) batchDir(batch int64) string { return filepath.Join(s.o.Dir, batchName(batch)) }

// stagedName has the epoch in it, so that an engine that is already fenced cannot touch what another stages.
func stagedName(epoch, batch int64) string { return fmt.Sprintf("e%08d-b%012d", epoch, batch) }

func stagedOf(name string) (epoch, batch int64, ok bool) {
	n, err := fmt.Sscanf(name, "e%d-b%d", &epoch, &batch)
	return epoch, batch, n == 2 && err == nil && stagedName(epoch, batch) == name
}

// partName is the one file of a partition in a batch.
func partName(l Layout) string {
	name := "part-0." + map[string]string{FormatJSON: "ndjson", FormatCSV: "csv", FormatParquet: "parquet"}[l.Format]
	if l.Format != FormatParquet {
		name += map[string]string{"gzip": ".gz", "zstd": ".zst"}[l.Compression]
	}
	return name
}

// partitionPath is the path of a row's partition below the batch: name=value, a level a column.
func (s *Sink) partitionPath(c *vector.Chunk, row int, dst []byte) []byte {
	for i, col := range s.partition {
		if i > 0 {
			dst = append(dst, filepath.Separator)
		}
		dst = append(appendEscaped(dst, []byte(s.output.Columns[col].Name)), '=')
		if c.Cols[col].IsNull(row) {
			dst = append(dst, nullPartition...)
			continue
		}
		s.scratch = s.text.Text(s.scratch[:0], &c.Cols[col], row)
		dst = appendEscaped(dst, s.scratch)
	}
	return dst
}

// appendEscaped writes a name or value as Hive does: what a path or a glob could misread becomes %XX.
func appendEscaped(dst, text []byte) []byte {
	const special = "\"#%'*/:=?\\{[]^"
	for _, b := range text {
		if b < ' ' || b == 0x7f || strings.IndexByte(special, b) >= 0 {
			dst = append(dst, fmt.Sprintf("%%%02X", b)...)
			continue
		}
		dst = append(dst, b)
	}
	return dst
}
