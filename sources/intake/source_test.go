package intake

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sources/decode"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

func open(t testing.TB, fsys vfs.FS, opt Options) *Inbox {
	t.Helper()
	opt.Dir, opt.FS, opt.Logger = "/in", fsys, slog.New(slog.DiscardHandler)
	b, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() }) // again, if the test has done it
	return b
}

func put(t testing.TB, b *Inbox, key string, rows ...string) Receipt {
	t.Helper()
	r, err := b.Put(context.Background(), delivery(key, rows...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func delivery(key string, rows ...string) Delivery {
	d := Delivery{Key: key}
	for _, row := range rows {
		d.Rows = append(d.Rows, []byte(row))
	}
	return d
}

var orderColumns = []vector.Field{{Name: "id", Type: vector.Of(vector.Int64)}, {Name: "received", Type: vector.Of(vector.Timestamp)},
	{Name: "name", Type: vector.Of(vector.Varchar)}, {Name: "key", Type: vector.Of(vector.Varchar)}, {Name: "n", Type: vector.Of(vector.Int64)}}

var orderOptions = SourceOptions{Name: "orders", Messages: decode.MessageOptions{Format: "json", Fields: orderColumns,
	Metadata: []string{"", MessageKeys[ReceivedAtKey], "", MessageKeys[DeliveryKey], MessageKeys[PositionKey]}}}

// fill puts deliveries of one row, of hundreds, and of thousands, with rows that cannot be read among them.
func fill(t testing.TB, b *Inbox) (rows, bad int64) {
	id := 0
	for i, n := range []int{1, 500, 1, 3, 5000, 2, 40, 1, 1} {
		var list []string
		for range n {
			if id++; id%97 == 0 {
				list = append(list, fmt.Sprintf(`{"id": "no %d`, id))
				bad++
				continue
			}
			list = append(list, fmt.Sprintf(`{"id": %d, "name": "row number %d %s"}`, id, id, strings.Repeat("x", id%70)))
			rows++
		}
		key := ""
		if i%2 == 0 {
			key = fmt.Sprint("delivery ", i)
		}
		put(t, b, key, list...)
	}
	return rows, bad
}

// bounded opens a source over an Inbox that ends where it ends now.
func bounded(b *Inbox, opt SourceOptions) func(testing.TB) microbatch.Source {
	opt.Bounded = true
	return func(t testing.TB) microbatch.Source {
		s, err := NewSource(b, opt)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestConformance(t *testing.T) {
	var broken atomic.Bool
	disk := vfs.Inject(vfs.NewMem(), func(vfs.Op) error {
		if broken.Load() {
			return syscall.EIO
		}
		return nil
	})
	b := open(t, disk, Options{SegmentBytes: 100_000, KeepEvery: 50_000})
	rows, bad := fill(t, b)
	sourcetest.Run(t, sourcetest.Config{Columns: orderColumns, Rows: rows, Bad: bad, Open: bounded(b, orderOptions), Bounded: true,
		Faults: map[string]func(testing.TB) func(){"broken disk": func(testing.TB) func() {
			broken.Store(true)
			return func() { broken.Store(false) }
		}},
		Lost: map[string]func(testing.TB) sourcetest.Losable{"directory gone": func(t testing.TB) sourcetest.Losable {
			lost := open(t, vfs.NewMem(), Options{})
			put(t, lost, "", `{"id": 1}`, `{"id": 2}`)
			return sourcetest.Losable{
				Open: func(t testing.TB) microbatch.Source { return bounded(lost, orderOptions)(t) },
				Lose: func(t testing.TB) { lost = open(t, vfs.NewMem(), Options{}) },
			}
		}},
	})
}

// TestConformanceOfChanges: rows may be two, of one position.
func TestConformanceOfChanges(t *testing.T) {
	b := open(t, vfs.NewMem(), Options{})
	for i := range 200 {
		put(t, b, "", fmt.Sprintf(`{"op": "c", "before": null, "after": {"id": %d, "name": "a"}}`, i), fmt.Sprintf(`{"op": "u", "before": {"id": %d, "name": "a"}, "after": {"id": %d, "name": "b"}}`, i, i+1),
			`{"op": "x"}`)
	}
	columns := []vector.Field{{Name: "id", Type: vector.Of(vector.Int64)}, {Name: "name", Type: vector.Of(vector.Varchar)}}
	opt := SourceOptions{Name: "changes", Messages: decode.MessageOptions{Format: "debezium", Fields: columns, Changes: planner.Weighted}}
	sourcetest.Run(t, sourcetest.Config{Columns: columns, Weighted: true, Rows: 600, Bad: 200, Open: bounded(b, opt)})
}

// TestReaderReadsTheSame: verify and replay, which have no Inbox, read what the engine did.
func TestReaderReadsTheSame(t *testing.T) {
	m := vfs.NewMem()
	b := open(t, m, Options{SegmentBytes: 50_000})
	fill(t, b)
	live := bounded(b, orderOptions)(t)
	reader, err := NewReader(m, "/in", orderOptions)
	if err != nil {
		t.Fatal(err)
	}
	var from []byte
	for {
		r, err := live.Poll(t.Context(), from, microbatch.Limits{MaxRows: 700})
		if err != nil {
			t.Fatal(err)
		}
		again, err := reader.Read(t.Context(), from, r.To)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sourcetest.RenderAll(r.Chunks), sourcetest.RenderAll(again.Chunks)); diff != "" {
			t.Fatalf("from %s to %s (-poll +read):\n%s", from, r.To, diff)
		}
		if from = r.To; r.Done {
			break
		}
	}
	if _, err := reader.Poll(t.Context(), nil, microbatch.Limits{}); err == nil {
		t.Error("a reader of ranges polled")
	}
}

// TestOlderCopy: a directory that has less than was read of it is refused.
func TestOlderCopy(t *testing.T) {
	b := open(t, vfs.NewMem(), Options{})
	put(t, b, "", `{"id": 1}`)
	s := bounded(b, orderOptions)(t)
	_, err := s.Poll(t.Context(), []byte(`{"v":1,"rows":7}`), microbatch.Limits{})
	sourcetest.RangeChanged(t, err)
	if _, err = s.Poll(t.Context(), []byte(`{"files":[]}`), microbatch.Limits{}); err == nil || !strings.Contains(err.Error(), "not those of pushed rows") {
		t.Errorf("another source's offsets: %v", err)
	}
}
