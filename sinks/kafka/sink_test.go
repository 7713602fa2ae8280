package kafka

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

// What a consumer reads, in every mode.
func TestModes(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		source := `"source":{"connector":"sluice","name":"p","table":"v","batch":`
		for _, tt := range []struct {
			name    string
			out     planner.Output
			layout  Layout
			batches []microbatch.OutputDelta
			want    []string
		}{
			{"append", appended, Layout{}, []microbatch.OutputDelta{sinktest.Rows("1 a", "2 ?"), sinktest.Rows(), sinktest.Rows("1 a")},
				[]string{`-={"id":1,"s":"a"}`, `-={"id":2,"s":null}`, `-={"id":1,"s":"a"}`}},
			{"append with a key", appended, Layout{Key: []string{"S"}, KeyFormat: "text"}, []microbatch.OutputDelta{sinktest.Rows("1 a", "2 a")},
				[]string{`a={"id":1,"s":"a"}`, `a={"id":2,"s":"a"}`}},
			{"upsert", upserted, Layout{Mode: ModeUpsert}, []microbatch.OutputDelta{sinktest.Rows("1 a", "2 b"), sinktest.Rows("1 c", "-2 b")},
				[]string{`{"id":1}={"id":1,"s":"a"}`, `{"id":2}={"id":2,"s":"b"}`, `{"id":1}={"id":1,"s":"c"}`, `{"id":2}=-`}},
			{"debezium", keyedLog, Layout{Mode: ModeDebezium}, []microbatch.OutputDelta{sinktest.Rows("1 a", "2 b"), sinktest.Rows("1 c", "-1 a", "-2 b")},
				[]string{`{"id":1}={"before":null,"after":{"id":1,"s":"a"},` + source + `1},"op":"c"}`,
					`{"id":2}={"before":null,"after":{"id":2,"s":"b"},` + source + `1},"op":"c"}`,
					`{"id":1}={"before":{"id":1,"s":"a"},"after":{"id":1,"s":"c"},` + source + `2},"op":"u"}`,
					`{"id":2}={"before":{"id":2,"s":"b"},"after":null,` + source + `2},"op":"d"}`, `{"id":2}=-`}},
			{"debezium without a key", plainLog, Layout{Mode: ModeDebezium}, []microbatch.OutputDelta{sinktest.Rows("1 a"), sinktest.Rows("-1 a")},
				[]string{`-={"before":null,"after":{"id":1,"s":"a"},` + source + `1},"op":"c"}`,
					`-={"before":{"id":1,"s":"a"},"after":null,` + source + `2},"op":"d"}`}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				o := options(t, c, tt.layout)
				o.Layout.Topic = strings.ReplaceAll(o.Layout.Topic, " ", "-")
				o.LedgerTopic, o.DeadLetterTopic = o.Layout.Topic+".ledger", o.Layout.Topic+".dead"
				o.Partitions = 1
				s, l := open(t, o, tt.out)
				if l.Found || l.Epoch != 1 {
					t.Errorf("the first ledger is %+v", l)
				}
				d := sinktest.NewDiary(t)
				for i, delta := range tt.batches {
					d.Put(s, sinktest.Batch(int64(i+1), delta))
				}
				if diff := cmp.Diff(tt.want, consume(t, c, o.Layout.Topic)); diff != "" {
					t.Errorf("records (-want +got):\n%s", diff)
				}
				again, l := open(t, o, tt.out)
				if want := int64(len(tt.batches)); !l.Found || l.Epoch != 2 || l.Batch != want || string(l.Offsets) != `{"s":1}` {
					t.Errorf("the ledger is %+v after %d batches", l, want)
				}
				shown, err := again.Read(t.Context(), "p", microbatch.Target{Output: tt.out})
				if err != nil {
					t.Fatal(err)
				}
				if len(shown.Records) != len(tt.want) || len(shown.Times) != len(tt.batches) {
					t.Errorf("read %d records and %d times", len(shown.Records), len(shown.Times))
				}
			})
		}
	})
}

// Two engines: the older one can neither commit nor disturb the newer one, whatever it had begun.
func TestTwoEngines(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		o := options(t, c, Layout{})
		d := sinktest.NewDiary(t)
		old, _ := open(t, o, appended)
		d.Put(old, sinktest.Batch(1, sinktest.Rows("1 a")))
		b := sinktest.Batch(2, sinktest.Rows("2 b"))
		if err := old.Stage(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		permit := d.Prepare(b)
		// The paused engine has records in an open transaction.
		if err := old.producer.cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := old.produce(t.Context(), old.staged.records(old), nil); err != nil {
			t.Fatal(err)
		}
		now, l := open(t, o, appended)
		if l.Batch != 1 || l.Epoch != 2 {
			t.Fatalf("the successor's ledger is %+v", l)
		}
		held := *now.producer
		if err := old.Commit(t.Context(), permit, sinktest.Info); !errors.Is(err, microbatch.ErrFenced) {
			t.Errorf("the paused engine's commit: %v, want ErrFenced", err)
		}
		if err := old.producer.failIfHeld(); err != nil {
			t.Error(err)
		}
		if err := now.producer.holds(t.Context()); err != nil || held != *now.producer {
			t.Errorf("the successor's id: %v", err)
		}
		if err := now.Stage(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if err := now.Commit(t.Context(), permit, sinktest.Info); err != nil {
			t.Fatal(err)
		}
		want := []string{`-={"id":1,"s":"a"}`, `-={"id":2,"s":"b"}`}
		got := consume(t, c, o.Layout.Topic)
		if slices.Sort(got); cmp.Diff(want, got) != "" {
			t.Errorf("records are %v", got)
		}
	})
}

func (p *producer) failIfHeld() error {
	if p != nil {
		return errors.New("a fenced engine still holds a producer")
	}
	return nil
}

// A ledger topic that also deletes by age would forget a pipeline that stands still for longer than that.
func TestLedgerThatIsDeletedByAge(t *testing.T) {
	c := kafkatest.Fake(t)
	o := options(t, c, Layout{})
	c.CreateTopic(t, o.LedgerTopic, 1, "cleanup.policy=compact,delete")
	_, err := newSink(t, o).Open(t.Context(), "p", []microbatch.Target{{Output: appended}})
	if err == nil || !strings.Contains(err.Error(), "cleanup.policy=compact,delete, which would delete the ledger\nHint: ") {
		t.Errorf("opened over it: %v", err)
	}
}

// A compacted topic takes no record without a key: that must be known before a batch is prepared, which nothing could
// take back.
func TestNoKeyForACompactedTopic(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		o := options(t, c, Layout{})
		c.CreateTopic(t, o.Layout.Topic, 1, "cleanup.policy=compact")
		s := newSink(t, o)
		_, err := s.Open(t.Context(), "p", []microbatch.Target{{Output: appended}})
		if err == nil {
			t.Error("it was opened")
			sinktest.NewDiary(t).Put(s, sinktest.Batch(1, sinktest.Rows("1 a")))
		} else if !strings.Contains(err.Error(), "cleanup.policy=compact") || !strings.Contains(err.Error(), "Hint: ") {
			t.Error(err)
		}
	})
}

// The records of a key that replace each other must be in one partition.
func TestKeysStayTogether(t *testing.T) {
	c := kafkatest.Fake(t)
	for _, p := range Partitioners[1:] {
		for out, l := range map[*planner.Output]Layout{&upserted: {Mode: ModeUpsert}, &keyedLog: {Mode: ModeDebezium}} {
			o := options(t, c, l)
			o.Partitioner = p
			_, err := newSink(t, o).Open(t.Context(), "p", []microbatch.Target{{Output: *out}})
			if err == nil || !strings.Contains(err.Error(), "partitioner = '"+p+"' spreads the records of a key") {
				t.Errorf("%s in mode %s: %v", p, l.Mode, err)
			}
		}
	}
}
