package sourcetest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-sql/sluice/microbatch"
)

func (cfg Config) rowsOf(steps []step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, s.rows...)
	}
	return cfg.sorted(out)
}

// sorted puts rows of several partitions in the order of _seq, their last column.
func (cfg Config) sorted(rows []string) []string {
	if !cfg.Partitioned {
		return rows
	}
	seq := func(row string) int64 {
		n, err := strconv.ParseInt(row[strings.LastIndexByte(row, ' ')+1:], 10, 64)
		if err != nil {
			panic("sourcetest: a row without _seq: " + row)
		}
		return n
	}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b string) int { return cmp.Compare(seq(a), seq(b)) })
	return rows
}

func (cfg Config) badOf(steps []step) []microbatch.BadRow {
	var out []microbatch.BadRow
	for _, s := range steps {
		out = append(out, s.bad...)
	}
	if cfg.Partitioned {
		slices.SortStableFunc(out, func(a, b microbatch.BadRow) int {
			return cmp.Or(strings.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
		})
	}
	return out
}
