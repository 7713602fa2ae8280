package ingestlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// entry makes an entry of n rows whose body names them.
func entry(name string, n int) Entry {
	return Entry{Rows: int64(n), Body: []byte(strings.Repeat(name+"\n", n))}
}

func openMem(t *testing.T, m vfs.FS, opt Options) *Log {
	t.Helper()
	opt.FS = m
	l, err := Open("/log", opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// rows reads a range as one line a row.
func rows(t *testing.T, from, to Position, entries func(yield func(Entry, error) bool)) []string {
	t.Helper()
	var out []string
	for e, err := range entries {
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(e.Body), "\n"), "\n")
		if int64(len(lines)) != e.Rows {
			t.Fatalf("an entry of %d rows has %d", e.Rows, len(lines))
		}
		for i, line := range lines {
			if at := e.First + Position(i); at >= from && at < to {
				out = append(out, line)
			}
		}
	}
	return out
}

func TestAppendAndRead(t *testing.T) {
	m := vfs.NewMem()
	l := openMem(t, m, Options{SegmentBytes: 300})
	var want []string
	for i := range 40 {
		n := i%4 + 1
		name := fmt.Sprint("entry ", i)
		at, err := l.Append(entry(name, n), entry(name+"b", 1))
		if err != nil || int(at) != len(want) {
			t.Fatalf("append %d at %d: %v", i, at, err)
		}
		for range n {
			want = append(want, name)
		}
		want = append(want, name+"b")
	}
	end := l.End()
	if int(end) != len(want) || len(l.segments) < 5 {
		t.Fatalf("end %d, %d rows, %d segments", end, len(want), len(l.segments))
	}
	for range 200 {
		from := Position(rand.IntN(len(want) + 1))
		to := from + Position(rand.IntN(len(want)+1-int(from)))
		for what, got := range map[string][]string{"the log": rows(t, from, to, l.Entries(from, to)), "another process": rows(t, from, to, Entries(m, "/log", from, to))} {
			if diff := cmp.Diff(want[from:to], got, cmp.Comparer(func(a, b []string) bool { return strings.Join(a, "|") == strings.Join(b, "|") })); diff != "" {
				t.Fatalf("%s, rows %d to %d: %s", what, from, to, diff)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := openMem(t, m, Options{SegmentBytes: 300})
	if again.End() != end || again.Torn() != nil {
		t.Errorf("after opening again: end %d, torn %v", again.End(), again.Torn())
	}
	if at, err := again.Append(entry("more", 1)); err != nil || at != end {
		t.Errorf("append at %d: %v", at, err)
	}
}

func TestGroupCommit(t *testing.T) {
	syncs := 0
	var mu sync.Mutex
	fsys := vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if op.Kind == "sync" {
			mu.Lock()
			syncs++
			mu.Unlock()
		}
		return nil
	})
	l := openMem(t, fsys, Options{SegmentBytes: 2000})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("%d-%d", g, i)
				at, err := l.Append(entry(name, 1))
				if err != nil {
					t.Error(err)
					return
				}
				if got := rows(t, at, at+1, l.Entries(at, at+1)); len(got) != 1 || got[0] != name {
					t.Errorf("row %d is %q, want %s", at, got, name)
				}
			}
		})
	}
	wg.Wait()
	if l.End() != 400 {
		t.Errorf("%d rows", l.End())
	}
	t.Logf("%d syncs for 400 appends", syncs)
}

func TestRefusals(t *testing.T) {
	m := vfs.NewMem()
	l := openMem(t, m, Options{SegmentBytes: 200, Truncate: true})
	for i := range 30 {
		if _, err := l.Append(entry(fmt.Sprint(i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open("/log", Options{FS: m}); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("a second open: %v", err)
	}
	one := func(entries func(yield func(Entry, error) bool)) (err error) {
		for _, err = range entries {
		}
		return err
	}
	if err := one(l.Entries(0, 31)); !errors.Is(err, ErrEnd) {
		t.Errorf("beyond the end: %v", err)
	}
	if err := one(Entries(m, "/log", 0, 31)); !errors.Is(err, ErrEnd) {
		t.Errorf("beyond the end, from another process: %v", err)
	}
	if err := one(Entries(m, "/nowhere", 0, 1)); !errors.Is(err, ErrEnd) {
		t.Errorf("a log that is gone: %v", err)
	}
	if err := l.Release(17); err != nil {
		t.Fatal(err)
	}
	if first := l.First(); first == 0 || first > 17 {
		t.Errorf("after Release(17) the log begins at %d", first)
	}
	if err := one(l.Entries(0, 5)); !errors.Is(err, ErrReleased) {
		t.Errorf("a released range: %v", err)
	}
	if got := rows(t, 17, 30, l.Entries(17, 30)); len(got) != 13 || got[0] != "17" {
		t.Errorf("after Release(17): %q", got)
	}
	kept := openMem(t, vfs.NewMem(), Options{SegmentBytes: 200})
	for i := range 30 {
		if _, err := kept.Append(entry(fmt.Sprint(i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := kept.Release(30); err != nil || kept.First() != 0 {
		t.Errorf("Release without Truncate: begins at %d: %v", kept.First(), err)
	}
}

// TestBytesAfter: what waits is measured exactly where all rows have one length, in segments that this Log wrote and in those
// that it found.
func TestBytesAfter(t *testing.T) {
	m := vfs.NewMem()
	l := openMem(t, m, Options{SegmentBytes: 1000})
	for range 50 {
		if _, err := l.Append(entry("a row of one length", 1)); err != nil {
			t.Fatal(err)
		}
	}
	row := frameBytes + int64(len(entry("a row of one length", 1).Body))
	check := func() {
		t.Helper()
		segments := l.Segments()
		for at := Position(0); at <= 50; at++ {
			headers := int64(0)
			for _, first := range segments {
				if first > at {
					headers += headerBytes
				}
			}
			got, err := l.BytesAfter(at)
			if want := int64(50-at)*row + headers; err != nil || got < want-1 || got > want+1 {
				t.Errorf("after row %d there are %d bytes, want %d: %v", at, got, want, err)
			}
		}
	}
	check()
	kill := m.CrashClone(vfs.Crash{})
	l = openMem(t, kill, Options{SegmentBytes: 1000})
	check()
}
