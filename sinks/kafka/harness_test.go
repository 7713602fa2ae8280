package kafka

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/kafkaclient"
	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Run(m)) }

var columns = []vector.Field{{Name: "id", Type: vector.Of(vector.Int64)}, {Name: "s", Type: vector.Of(vector.Varchar)}}

// Outputs of every kind.
var (
	appended = planner.Output{Name: "v", Columns: columns, Mode: planner.Append}
	upserted = planner.Output{Name: "v", Columns: columns, Mode: planner.Upsert, Key: []int{0}}
	keyedLog = planner.Output{Name: "v", Columns: columns, Mode: planner.Multiset, Key: []int{0}, Keyed: true}
	plainLog = planner.Output{Name: "v", Columns: columns, Mode: planner.Multiset}
)

// rowsOf makes a delta of rows "id s" or "-id s": deleted. "?" is NULL.
func rowsOf(rows ...string) microbatch.OutputDelta {
	d := microbatch.OutputDelta{Name: "v", Rows: int64(len(rows))}
	if len(rows) > 0 {
		c := vector.NewChunk([]vector.Type{vector.Of(vector.Int64), vector.Of(vector.Varchar), vector.Of(vector.Int64)}, len(rows))
		for i, row := range rows {
			weight := int64(1)
			if strings.HasPrefix(row, "-") {
				weight, row = -1, row[1:]
			}
			id, text, _ := strings.Cut(row, " ")
			var n int64
			if _, err := fmt.Sscan(id, &n); err != nil {
				panic(err)
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
		d.Chunks = []*vector.Chunk{c}
	}
	var sum vector.Digest
	for _, c := range d.Chunks {
		sum.AddChunk(c)
	}
	d.Digest = checkpointlog.OutputDigest{Output: d.Name, Rows: d.Rows, Sum: sum.String()}
	return d
}

func staged(batch int64, d microbatch.OutputDelta, letters ...microbatch.DeadLetter) *microbatch.StagedBatch {
	return &microbatch.StagedBatch{Batch: batch, Outputs: []microbatch.OutputDelta{d}, DeadLetters: letters}
}

// A diary issues permits as the engine's log does.
type diary struct {
	t   *testing.T
	log *checkpointlog.Log
	// permit and committed are the last ones.
	permit    checkpointlog.CommitPermit
	committed int64
}

func newDiary(t *testing.T) *diary {
	t.Helper()
	log, _, err := checkpointlog.Open("/log", checkpointlog.Header{Pipeline: "p", DuckDB: "1", Plan: "f"}, checkpointlog.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return &diary{t: t, log: log}
}

func (d *diary) prepare(b *microbatch.StagedBatch) checkpointlog.CommitPermit {
	d.t.Helper()
	if err := d.log.Plan(checkpointlog.Planned{Batch: b.Batch, Epoch: 1, At: time.Unix(0, 0)}); err != nil {
		d.t.Fatal(err)
	}
	var err error
	if d.permit, err = d.log.Prepare(checkpointlog.Prepared{Batch: b.Batch, Epoch: 1, Outputs: []checkpointlog.OutputDigest{b.Outputs[0].Digest}}); err != nil {
		d.t.Fatal(err)
	}
	return d.permit
}

func (d *diary) done(batch int64) {
	d.t.Helper()
	if err := d.log.Commit(checkpointlog.Committed{Batch: batch, Epoch: 1}); err != nil {
		d.t.Fatal(err)
	}
	d.committed = batch
}

// options are for a topic of the test's own, with ledgers of its own.
func options(t *testing.T, c *kafkatest.Cluster, l Layout) Options {
	t.Helper()
	l.Topic = fmt.Sprintf("out-%d-%s", os.Getpid(), strings.NewReplacer("/", "-", "=", "-", "#", "-").Replace(t.Name()))
	return Options{Client: kafkaclient.Options{Brokers: c.Addrs}, Name: l.Topic, // transactional ids are the cluster's
		Layout: l, Partitions: 2, Replication: 1, DeadLetters: true,
		LedgerTopic: l.Topic + ".ledger", DeadLetterTopic: l.Topic + ".dead", TransactionTimeout: 30 * time.Second}
}

// open opens a sink, or fails the test.
func open(t *testing.T, o Options, out planner.Output) (*Sink, microbatch.Ledger) {
	t.Helper()
	s := newSink(t, o)
	l, err := s.Open(t.Context(), "p", []microbatch.Target{{Output: out}})
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

func newSink(t *testing.T, o Options) *Sink {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// put takes a batch through both phases.
func put(t *testing.T, s *Sink, d *diary, b *microbatch.StagedBatch) {
	t.Helper()
	if err := s.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), d.prepare(b), info); err != nil {
		t.Fatal(err)
	}
	d.done(b.Batch)
}

var info = microbatch.CommitInfo{Offsets: []byte(`{"s":1}`), Plan: "f", KeepBatchTime: true, PlannedAt: time.Unix(0, 0)}

// consume reads a topic as an ordinary consumer does that reads only what is committed, up to its end, as
// "key=value" in the order of each partition.
func consume(t *testing.T, c *kafkatest.Cluster, topic string) (out []string) {
	t.Helper()
	offsets := map[int32]kgo.Offset{}
	ends, err := c.Admin(t).ListEndOffsets(t.Context(), topic)
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	left := map[int32]int64{}
	for p, o := range ends[topic] {
		offsets[p] = kgo.NewOffset().AtStart()
		if o.Offset > 0 {
			left[p] = o.Offset
		}
	}
	cl := c.Client(t, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}), kgo.KeepControlRecords())
	for len(left) > 0 {
		f := cl.PollFetches(t.Context())
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out = append(out, text(r.Key)+"="+text(r.Value))
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return out
}

func text(b []byte) string {
	if b == nil {
		return "-"
	}
	return string(b)
}
