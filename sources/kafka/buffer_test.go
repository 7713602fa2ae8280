package kafka

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
)

// What was skipped counts when the position passes it, and not before: offsets that count records which they do not
// have passed cannot be read again, and cannot even be decoded.
func TestSkippedAreCountedWhenPassed(t *testing.T) {
	s := &Source{b: newBuffer(1 << 20)}
	pos := &position{topic: "t"}
	for number := range int32(2) {
		p := s.b.find(number)
		m := mark{partition: number, start: 10, next: 10, epoch: -1}
		pos.marks = append(pos.marks, m)
		p.seek(m)
		a := answer{next: 16, epoch: 3}
		for at := int64(10); at < 16; at++ {
			a.records = append(a.records, &kgo.Record{Partition: number, Offset: at, LeaderEpoch: 3})
		}
		p.push(&a)
	}
	step := func(got bool, used ...int) {
		t.Helper()
		p := &poll{s: s, pos: pos}
		portions := make([]portion, 2)
		for i, n := range used {
			q := s.b.find(int32(i))
			portions[i] = portion{p: q, ordinal: i, seeks: q.seeks, used: n}
		}
		if _, err := p.settle(portions, got); err != nil {
			t.Fatal(err)
		}
		if _, err := decodePosition(pos.encode()); err != nil {
			t.Error(err)
		}
		for i, m := range pos.marks {
			if passed := m.next - m.start; m.records != passed {
				t.Errorf("partition %d: %d records in %d offsets", i, m.records, passed)
			}
		}
	}
	step(false, 5, 0) // five records that say nothing
	step(true, 0, 1)  // a row, but of the other partition: a limit is reached
	step(true, 1, 0)
	if got, want := fmt.Sprint(pos.marks[0].next, pos.marks[1].next), "16 11"; got != want {
		t.Errorf("positions are %s, want %s", got, want)
	}
}

// What ends a trouble may come between the look at the buffer and the taking of rows: then the rows were given
// together with the trouble.
func TestRowsEndATrouble(t *testing.T) {
	o := options(&kafkatest.Cluster{Addrs: []string{"127.0.0.1:1"}}, "t")
	s := open(t, o)
	s.b = newBuffer(1 << 20)
	part := s.b.find(0)
	part.seek(mark{next: 5, epoch: -1})
	part.stable, part.trouble = 5, "broker 2: EOF"
	if ready, _, err := s.ready(); !ready || err != nil || s.State() != "partition 0: broker 2: EOF" {
		t.Fatalf("ready %v, %v, and says %q", ready, err, s.State())
	}
	f := fetcher{b: s.b, opt: s.opt}
	s.b.mu.Lock()
	e := event("t", 0, 1)
	e.Offset = 5
	f.heard(part, &answer{records: []*kgo.Record{e}, next: 6, stable: 6, high: 6})
	s.b.mu.Unlock()
	p := &poll{s: s, b: s.opt.Messages.Builder(), pos: &position{topic: "t", marks: []mark{{next: 5, epoch: -1}}}}
	rows, err := p.run(t.Context(), nil)
	if err != nil || rows.Count != 1 {
		t.Fatalf("%+v, %v", rows, err)
	}
	if s.State() != "" {
		t.Errorf("the source gave a row and says %q", s.State())
	}
}
