package intake

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/ingestlog"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

// clock is a time that tests move.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newClock() *clock { return &clock{time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func TestRetries(t *testing.T) {
	m := vfs.NewMem()
	b := open(t, m, Options{})
	first := put(t, b, "a", "1", "2", "3")
	if want := (Receipt{From: 0, To: 3}); first != want {
		t.Fatalf("got %+v, want %+v", first, want)
	}
	put(t, b, "", "4")
	repeated := Receipt{From: 0, To: 3, Repeated: true}
	for range 2 {
		if r := put(t, b, "a", "1", "2", "3"); r != repeated {
			t.Errorf("a retry: %+v, want %+v", r, repeated)
		}
		for _, other := range []Delivery{delivery("a", "1", "2"), delivery("a", "12", "3"), delivery("a", "1", "2", "4")} {
			if _, err := b.Put(t.Context(), other); !errors.Is(err, ErrKeyReused) {
				t.Errorf("other rows with the key: %v", err)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = open(t, m, Options{}) // from the file of keys, and then without it
		if err := errors.Join(m.Remove("/in/keys"), m.SyncDir("/in")); err != nil {
			t.Fatal(err)
		}
	}
	if r := put(t, b, "", "5"); r.From != 4 {
		t.Errorf("a new delivery is at %d, want 4", r.From)
	}
}

// TestRetryInFlight: a retry that comes before the first try is durable waits for it, and both are answered alike.
func TestRetryInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		syncs := make(chan struct{})
		held := false
		b := open(t, vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
			if held && op.Kind == "sync" {
				<-syncs
			}
			return nil
		}), Options{})
		held = true
		var wg sync.WaitGroup
		receipts := make([]Receipt, 5)
		for i := range receipts {
			wg.Go(func() { receipts[i] = put(t, b, "k", "row") })
		}
		synctest.Wait()
		if end := b.End(); end != 0 {
			t.Errorf("%d rows are there before the sync", end)
		}
		close(syncs)
		wg.Wait()
		repeated := 0
		for _, r := range receipts {
			if r.Repeated {
				repeated++
			}
			if r.From != 0 || r.To != 1 {
				t.Errorf("got %+v", r)
			}
		}
		if repeated != 4 || b.End() != 1 {
			t.Errorf("%d of 5 were repeats, and %d rows are there", repeated, b.End())
		}
	})
}

func TestKeysAreBounded(t *testing.T) {
	c, m := newClock(), vfs.NewMem()
	opt := Options{MaxKeys: 3, MaxKeyAge: time.Hour, Now: c.now}
	b := open(t, m, opt)
	for i := range 5 {
		put(t, b, fmt.Sprint("key ", i), "row")
		c.at = c.at.Add(time.Minute)
	}
	repeated := func(i int) bool { return put(t, b, fmt.Sprint("key ", i), "row").Repeated }
	if !repeated(2) || !repeated(4) || repeated(0) {
		t.Error("not the last three keys are known")
	}
	c.at = c.at.Add(59*time.Minute + 30*time.Second)
	if !repeated(0) || repeated(4) {
		t.Error("not the last hour's keys are known")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, m, opt)
	if !repeated(0) || !repeated(4) || repeated(3) {
		t.Error("other keys are known after a restart")
	}
}

func TestLag(t *testing.T) {
	b := open(t, vfs.NewMem(), Options{MaxBacklogBytes: 1000})
	row := `{"id": 1, "name": "` + strings.Repeat("x", 400) + `"}`
	kept := put(t, b, "k", row)
	put(t, b, "", row)
	put(t, b, "", row)
	_, err := b.Put(t.Context(), delivery("new", row))
	var lag *LagError
	if !errors.As(err, &lag) || lag.MaxBytes != 1000 || lag.BacklogBytes <= 1000 {
		t.Fatalf("a third: %v", err)
	}
	if b.Ready("") == nil || b.Ready("new") == nil || b.Ready("k") != nil {
		t.Error("Ready says otherwise than Put")
	}
	if r := put(t, b, "k", row); !r.Repeated || r.From != kept.From {
		t.Errorf("a retry of what is durable was not answered: %+v", r)
	}
	s := bounded(b, orderOptions)(t)
	if _, err := s.Poll(t.Context(), nil, microbatch.Limits{MaxRows: 2}); err != nil {
		t.Fatal(err)
	}
	if r := put(t, b, "new", row); r.Repeated {
		t.Error("what was refused is taken for known")
	}
}

// TestRetention: segments go when they are old enough and committed, their keys stay, and who reads them hears why they
// are gone.
func TestRetention(t *testing.T) {
	c, m := newClock(), vfs.NewMem()
	opt := Options{Retention: time.Hour, SegmentBytes: 1000, Now: c.now}
	b := open(t, m, opt)
	rows := []string{`{"id": 1, "name": "` + strings.Repeat("x", 500) + `"}`}
	for i := range 10 {
		put(t, b, fmt.Sprint("key ", i), rows...)
		c.at = c.at.Add(10 * time.Minute)
	}
	s := bounded(b, orderOptions)(t)
	ack := func(rows int) {
		t.Helper()
		if err := s.Ack(t.Context(), fmt.Appendf(nil, `{"v":1,"rows":%d}`, rows)); err != nil {
			t.Fatal(err)
		}
	}
	if ack(1); b.log.First() != 0 {
		t.Error("a segment was released that is not committed")
	}
	ack(10)
	if first := b.log.First(); first == 0 || first > 5 {
		t.Fatalf("the log begins at %d, and 4 of 10 rows are older than an hour", first)
	}
	_, err := s.Read(t.Context(), nil, []byte(`{"v":1,"rows":10}`))
	sourcetest.RangeChanged(t, err)
	if !strings.Contains(err.Error(), "verify") || !errors.Is(err, ingestlog.ErrReleased) {
		t.Errorf("the error does not say why: %v", err)
	}
	crashed := m.CrashClone(vfs.Crash{})
	b = open(t, crashed, opt)
	if r := put(t, b, "key 0", rows...); !r.Repeated || r.From != 0 {
		t.Errorf("a key went with its segment: %+v", r)
	}
}

func TestRetentionBytes(t *testing.T) {
	b := open(t, vfs.NewMem(), Options{RetentionBytes: 2500, SegmentBytes: 1000})
	for range 10 {
		put(t, b, "", strings.Repeat("x", 500))
	}
	if err := b.ack(10); err != nil {
		t.Fatal(err)
	}
	kept, err := b.log.BytesAfter(b.log.First())
	if err != nil || kept < 2500 || kept > 4500 {
		t.Errorf("%d bytes are kept: %v", kept, err)
	}
}

// TestDamagedKeys: where the log has all rows it has all keys; where it does not, nobody guesses.
func TestDamagedKeys(t *testing.T) {
	m := vfs.NewMem()
	b := open(t, m, Options{SegmentBytes: 200, RetentionBytes: 1})
	put(t, b, "a", "row")
	damage := func() {
		t.Helper()
		if err := errors.Join(b.Close(), writeFile(m, "/in/keys", []byte("SLUICEKY and nothing of it"))); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	b = open(t, m, Options{SegmentBytes: 200, RetentionBytes: 1})
	if !put(t, b, "a", "row").Repeated {
		t.Error("the key was not read from the log")
	}
	for range 5 {
		put(t, b, "", strings.Repeat("x", 200))
	}
	if err := b.ack(b.End()); err != nil || b.log.First() == 0 {
		t.Fatal(b.log.First(), err)
	}
	damage()
	_, err := Open(Options{Dir: "/in", FS: m})
	var broken *KeysError
	if !errors.As(err, &broken) || !strings.Contains(err.Error(), "Hint: ") {
		t.Errorf("got %v", err)
	}
}

// TestCopyWithNewerKeys: a copy that was made while rows came in, segments first, has keys of rows that it lacks.
func TestCopyWithNewerKeys(t *testing.T) {
	m := vfs.NewMem()
	b := open(t, m, Options{})
	put(t, b, "a", "row")
	older := m.CrashClone(vfs.Crash{})
	put(t, b, "b", "row")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	keys, err := readFile(m, "/in/keys")
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFile(older, "/in/keys", keys); err != nil {
		t.Fatal(err)
	}
	b = open(t, older, Options{})
	if !put(t, b, "a", "row").Repeated || put(t, b, "b", "row").Repeated {
		t.Error("the keys are not those of the rows")
	}
}

// TestMoved: rows that a copy of the directory may lack are not acknowledged.
func TestMoved(t *testing.T) {
	m := vfs.NewMem()
	b := open(t, m, Options{})
	put(t, b, "a", "row")
	if err := ingestlog.MarkMoved(m, "/in"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), delivery("b", "row")); !errors.Is(err, ingestlog.ErrMoved) {
		t.Errorf("Put: %v", err)
	}
	if err := b.Ready("b"); !errors.Is(err, ingestlog.ErrMoved) {
		t.Errorf("Ready: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: "/in", FS: m}); !errors.Is(err, ingestlog.ErrMoved) {
		t.Errorf("Open: %v", err)
	}
	b = open(t, m, Options{Owner: true})
	put(t, b, "c", "row")
	if err := errors.Join(ingestlog.MarkMoved(m, "/in"), b.Own()); err != nil {
		t.Fatal(err)
	}
	put(t, b, "d", "row")
}
