package kafka

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/sluice-sql/sluice/sources/decode"
)

// An unknown is a schema that the registry did not have when records of a partition were read, from offset first on.
// Those before end were; an end of -1 is not known yet.
type unknown struct {
	id         uint32
	partition  int32
	first, end int64
}

// unknowns are part of a position: records that were bad rows because nobody had registered their schema are bad rows
// again when they are read again, whoever has registered it meanwhile.
//
// Invariant: no two entries of an id and a partition overlap, and only the last one of them has no end.
type unknowns []unknown

// maxUnknown bounds how many are kept. Topics with more have messages of another format, and the oldest are forgotten:
// their ids are random, and will not be registered.
const maxUnknown = 256

// at appends the ids that were unknown at an offset.
func (u unknowns) at(ids []uint32, partition int32, offset int64) []uint32 {
	for _, e := range u {
		if e.partition == partition && e.first <= offset && (e.end < 0 || offset < e.end) {
			ids = append(ids, e.id)
		}
	}
	return ids
}

// note takes over what came of a record that was read for the first time.
func (u *unknowns) note(partition int32, offset int64, uses []decode.SchemaUse) {
	for _, use := range uses {
		if use.Known && len(*u) == 0 {
			continue
		}
		open := slices.IndexFunc(*u, func(e unknown) bool { return e.id == use.ID && e.partition == partition && e.end < 0 })
		switch {
		case use.Known && open >= 0:
			(*u)[open].end = offset
		case !use.Known && open < 0:
			if len(*u) == maxUnknown {
				*u = slices.Delete(*u, 0, 1)
			}
			*u = append(*u, unknown{use.ID, partition, offset, -1})
		}
	}
}

func (u unknowns) encode(out []byte) []byte {
	for i, e := range u {
		if i > 0 {
			out = append(out, ',')
		}
		for j, n := range [...]int64{int64(e.id), int64(e.partition), e.first, e.end} {
			out = append(out, "[,,,"[j])
			out = strconv.AppendInt(out, n, 10)
		}
		out = append(out, ']')
	}
	return out
}

func decodeUnknowns(entries [][]int64) (u unknowns, err error) {
	if len(entries) > maxUnknown {
		return nil, fmt.Errorf("read offsets: %d entries of unknown_schemas are too many", len(entries))
	}
	for i, e := range entries {
		if len(e) != 4 || e[0] < 0 || e[0] > 1<<32-1 || e[1] < 0 || e[1] > 1<<31-1 || e[2] < 0 || e[2] > maxOffset || e[3] > maxOffset || e[3] != -1 && e[3] <= e[2] {
			return nil, fmt.Errorf("read offsets: entry %d of unknown_schemas is malformed: %v", i+1, e)
		}
		u = append(u, unknown{uint32(e[0]), int32(e[1]), e[2], e[3]})
	}
	return u, nil
}
