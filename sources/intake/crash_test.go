package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// sender is a client that retries with its keys until it hears that a delivery is there, across starts of the other
// side.
type sender struct {
	next  int
	acked map[int]Receipt
}

const deliveries = 14

func (s *sender) rows(i int) []string {
	var rows []string
	for j := range i%3 + 1 {
		rows = append(rows, fmt.Sprintf(`{"id": %d, "name": "%d of %d %s"}`, i*10+j, j, i, strings.Repeat("x", i*9)))
	}
	return rows
}

// send puts what was not acknowledged, and commits now and then, until something fails.
func (s *sender) send(fsys vfs.FS) (err error) {
	b, err := Open(Options{Dir: "/in", FS: fsys, SegmentBytes: 700, KeepEvery: 600, RetentionBytes: 1500, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	for ; s.next < deliveries; s.next++ {
		r, err := b.Put(context.Background(), delivery(fmt.Sprint("key ", s.next), s.rows(s.next)...))
		if err != nil {
			return err
		}
		s.acked[s.next] = r
		if s.next%4 == 3 {
			if err := b.ack(r.From); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestEveryOperationIsACrash fails every file operation of a sender's work in turn, and loses power there, too. The
// sender goes on with its keys, and then every delivery is there once, in its place.
func TestEveryOperationIsACrash(t *testing.T) {
	injected := errors.New("injected")
	for k := 1; ; k++ {
		m := vfs.NewMem()
		s := &sender{acked: map[int]Receipt{}}
		n := 0
		err := s.send(vfs.Inject(m, func(op vfs.Op) error {
			if n++; n == k {
				return injected
			}
			return nil
		}))
		if n < k {
			if k < 80 || err != nil {
				t.Fatalf("the work has only %d operations: %v", n, err)
			}
			return
		}
		for seed := range uint64(4) {
			crash := vfs.Crash{KeepPercent: []int{0, 100, 50, 30}[seed]}
			if seed > 1 {
				crash.Rand = rand.New(rand.NewPCG(uint64(k), seed))
			}
			t.Run(fmt.Sprintf("operation %d, crash %d", k, seed), func(t *testing.T) { s.goesOn(t, m.CrashClone(crash)) })
		}
	}
}

// goesOn sends the rest, retries all, and looks at what is there.
func (s *sender) goesOn(t *testing.T, m *vfs.Mem) {
	rest := &sender{next: s.next, acked: map[int]Receipt{}}
	if err := rest.send(m); err != nil {
		t.Fatal(err)
	}
	b := open(t, m, Options{})
	want := Receipt{Repeated: true}
	for i := range deliveries {
		want.From, want.To = want.To, want.To+ingestlog.Position(i%3+1)
		if r := put(t, b, fmt.Sprint("key ", i), s.rows(i)...); r != want {
			t.Fatalf("delivery %d is at %+v, want %+v", i, r, want)
		}
		if r, acked := s.acked[i]; acked && (r.From != want.From || r.To != want.To) {
			t.Fatalf("delivery %d was acknowledged at %+v, and is at %+v", i, r, want)
		}
	}
	if b.End() != want.To {
		t.Fatalf("%d rows are there, want %d", b.End(), want.To)
	}
	src := bounded(b, orderOptions)(t)
	r, err := src.Poll(t.Context(), fmt.Appendf(nil, `{"v":1,"rows":%d}`, b.log.First()), microbatch.Limits{})
	if err != nil || r.Count != int64(b.End()-b.log.First()) {
		t.Fatalf("%d rows can be read: %v", r.Count, err)
	}
}
