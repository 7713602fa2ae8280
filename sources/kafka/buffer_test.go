package kafka

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
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
