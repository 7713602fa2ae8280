package kafka

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

// TestNodesKilled: one of three nodes is killed while a batch is on its way, and comes back. Leaders and
// the transaction coordinator move; no batch is lost or written twice.
func TestNodesKilled(t *testing.T) {
	c := kafkatest.Own(t, 3)
	o := options(t, c, Layout{})
	o.Partitions, o.Replication = 6, 3
	d := sinktest.NewDiary(t)
	s, _ := open(t, o, appended)
	var want []string
	for batch := int64(1); batch <= 3; batch++ {
		var rows []string
		for i := range 20 {
			id := int(batch)*100 + i
			rows = append(rows, fmt.Sprint(id, " x"))
			want = append(want, fmt.Sprintf(`-={"id":%d,"s":"x"}`, id))
		}
		b := sinktest.Batch(batch, sinktest.Rows(rows...))
		if err := s.Stage(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		permit := d.Prepare(b)
		node := int(batch/3)%3 + 1
		done := make(chan error, 1)
		if batch%3 == 2 {
			go func() { done <- c.Real.Kill(node) }()
		} else {
			done <- nil
		}
		err := s.Commit(t.Context(), permit, sinktest.Info)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err != nil { // as a start after a failure does
			t.Log(err)
			var l microbatch.Ledger
			if s, l = open(t, o, appended); l.Batch < batch {
				if err := s.Stage(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				if err := s.Commit(t.Context(), permit, sinktest.Info); err != nil {
					t.Fatal(err)
				}
			}
		}
		d.Done(batch)
		if batch%3 == 0 && batch > 1 {
			if err := c.Real.Restart(t.Context(), int((batch-1)/3)%3+1); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := consume(t, c, o.Layout.Topic)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}
