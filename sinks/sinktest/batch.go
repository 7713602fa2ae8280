package sinktest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

// Columns are what Rows makes.
var Columns = []vector.Field{{Name: "id", Type: vector.Of(vector.Int64)}, {Name: "s", Type: vector.Of(vector.Varchar)}}

// Output is the view whose changes the suite writes. Why append-only: its table, topic or file shows every row that
// was written twice.
var Output = planner.Output{Name: "v", Columns: Columns, Mode: planner.Append}

// Rows makes a delta of output v from rows "id s", or "-id s" for a deleted one. The text "?" is NULL.
func Rows(rows ...string) microbatch.OutputDelta {
	d := microbatch.OutputDelta{Name: Output.Name, Rows: int64(len(rows))}
	var sum vector.Digest
	for part := range slices.Chunk(rows, vector.Size) {
		c := chunk(part)
		sum.AddChunk(c)
		d.Chunks = append(d.Chunks, c)
	}
	d.Digest = checkpointlog.OutputDigest{Output: d.Name, Rows: d.Rows, Sum: sum.String()}
	return d
}

func chunk(rows []string) *vector.Chunk {
	c := vector.NewChunk([]vector.Type{Columns[0].Type, Columns[1].Type, vector.Of(vector.Int64)}, len(rows))
	for i, row := range rows {
		weight := int64(1)
		if strings.HasPrefix(row, "-") {
			weight, row = -1, row[1:]
		}
		id, text, _ := strings.Cut(row, " ")
		var n int64
		if _, err := fmt.Sscan(id, &n); err != nil {
			panic(fmt.Sprintf("sinktest: row %q has no number", row))
		}
		c.Cols[0].PutI64(i, n)
		if s := []byte(text); text == "?" {
			c.Cols[1].SetNull(i, len(rows))
		} else {
			c.Keep = append(c.Keep, s)
			c.Cols[1].PutStr(i, s)
		}
		c.Cols[2].PutI64(i, weight)
	}
	return c
}

// Row is a row in the words of Rows; no text is NULL.
func Row(id int64, text *string) string {
	if text == nil {
		return fmt.Sprint(id, " ?")
	}
	return fmt.Sprint(id, " ", *text)
}

// Batch makes a batch of one output.
func Batch(number int64, d microbatch.OutputDelta, letters ...microbatch.DeadLetter) *microbatch.StagedBatch {
	return &microbatch.StagedBatch{Batch: number, Outputs: []microbatch.OutputDelta{d}, DeadLetters: letters}
}

// digests are those of the log's Prepared record.
func digests(b *microbatch.StagedBatch) []checkpointlog.OutputDigest {
	var out []checkpointlog.OutputDigest
	for _, o := range b.Outputs {
		out = append(out, o.Digest)
	}
	return out
}

// Info is what is committed with a batch of which a test asks nothing in particular.
var Info = microbatch.CommitInfo{Offsets: []byte(`{"s":1}`), Plan: plan, KeepBatchTime: true, PlannedAt: time.Unix(0, 0)}

// infoOf is different for every batch.
func infoOf(batch int64) microbatch.CommitInfo {
	info := Info
	info.Offsets = fmt.Appendf(nil, `{"s":%d}`, batch)
	info.Watermarks = map[string]int64{"s": batch}
	info.PlannedAt = time.Unix(batch, 0)
	return info
}

// A content is what a batch shows once it is committed.
type content struct {
	rows    []string
	letters []microbatch.DeadLetter
}

func (c content) batch(number int64) *microbatch.StagedBatch {
	return Batch(number, Rows(c.rows...), c.letters...)
}

// scenario has batches of every kind: of a few rows, without rows, with equal rows, of many chunks, and of nothing but a
// dead letter.
func scenario() []content {
	many := make([]string, 2*vector.Size+1)
	for i := range many {
		many[i] = fmt.Sprint(400_000+i, " many ", i%7)
	}
	return []content{
		{rows: []string{"100000 a", "100001 ?", "100002 b"}},
		{},
		{rows: []string{"300000 x", "300000 x", "300001 "}, letters: []microbatch.DeadLetter{letter(1)}},
		{rows: many},
		{letters: []microbatch.DeadLetter{letter(2), letter(3)}},
		{rows: []string{"600000 \"quoted\", with a comma"}},
	}
}

func letter(n int64) microbatch.DeadLetter {
	return microbatch.DeadLetter{Source: "s", Partition: "f.json", Offset: n, Reason: "late: 1 s", Raw: fmt.Sprintf(`{"n":%d}`, n)}
}

// small is a batch of the fault tests.
func small(batch int64) content {
	return content{rows: []string{fmt.Sprint(batch*100_000, " a"), fmt.Sprint(batch*100_000+1, " b")}, letters: []microbatch.DeadLetter{letter(batch)}}
}
