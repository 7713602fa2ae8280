package ingestlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// workload appends groups until something fails, and returns all rows that were tried and how many of them
// were acknowledged.
func workload(fsys vfs.FS, base []string) (tried []string, acked int, err error) {
	tried, acked = base, len(base)
	l, err := Open("/log", Options{FS: fsys, SegmentBytes: 400})
	if err != nil {
		return tried, acked, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for i := range 12 {
		var group []Entry
		for j := range i%3 + 1 {
			name := fmt.Sprintf("row %d of start %d, part %d %s", i, len(base), j, strings.Repeat("x", i*7))
			group = append(group, entry(name, 2))
			tried = append(slices.Clip(tried), name, name)
		}
		if _, err := l.Append(group...); err != nil {
			return tried, acked, err
		}
		acked = len(tried)
	}
	return tried, acked, nil
}

// groupEnds are the numbers of rows at which a log may end: after whole groups of one workload.
func groupEnds(base int) map[int]bool {
	ends, n := map[int]bool{base: true}, base
	for i := range 12 {
		n += (i%3 + 1) * 2
		ends[n] = true
	}
	return ends
}

// TestEveryOperationIsACrash fails every file operation of a workload in turn, and loses power there, too.
func TestEveryOperationIsACrash(t *testing.T) {
	injected := errors.New("injected")
	for k := 1; ; k++ {
		m := vfs.NewMem()
		base, _, err := workload(m, nil) // so that opening an existing log is part of the sweep
		if err != nil {
			t.Fatal(err)
		}
		n, failed := 0, vfs.Op{}
		tried, acked, err := workload(vfs.Inject(m, func(op vfs.Op) error {
			if n++; n == k {
				failed = op
				return injected
			}
			return nil
		}), base)
		if n < k {
			if k < 60 {
				t.Fatalf("the workload has only %d operations", n)
			}
			return // every operation has failed once
		}
		if err == nil || !errors.Is(err, injected) {
			t.Fatalf("operation %d, %v, failed and nothing was said: %v", k, failed, err)
		}
		for seed := range uint64(4) {
			c := vfs.Crash{KeepPercent: []int{0, 100, 50, 30}[seed]}
			if seed > 1 {
				c.Rand = rand.New(rand.NewPCG(uint64(k), seed))
			}
			survives(t, fmt.Sprintf("operation %d, crash %d", k, seed), m.CrashClone(c), len(base), tried, acked)
		}
	}
}

// survives opens a crashed log, wants every acknowledged row and no part of a group, and goes on.
func survives(t *testing.T, what string, m *vfs.Mem, base int, tried []string, acked int) {
	t.Helper()
	l, err := Open("/log", Options{FS: m, SegmentBytes: 400})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	end := int(l.End())
	if end < acked || end > len(tried) || !groupEnds(base)[end] {
		t.Fatalf("%s: %d rows are there, %d were acknowledged, %d tried", what, end, acked, len(tried))
	}
	if got := rows(t, 0, Position(end), l.Entries(0, Position(end))); !slices.Equal(got, tried[:end]) {
		t.Fatalf("%s: other rows came back: %q", what, got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	all, n, err := workload(m, slices.Clip(tried[:end]))
	if err != nil {
		t.Fatalf("%s: going on: %v", what, err)
	}
	if got := rows(t, 0, Position(n), Entries(m, "/log", 0, Position(n))); !slices.Equal(got, all) {
		t.Fatalf("%s: other rows after going on", what)
	}
}

// TestFlippedBits flips every byte of a closed log in turn: each is noticed, none is taken for a torn tail.
func TestFlippedBits(t *testing.T) {
	m := vfs.NewMem()
	all, n, err := workload(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	firsts, err := list(m, "/log")
	if err != nil || len(firsts) < 3 {
		t.Fatalf("segments %v: %v", firsts, err)
	}
	for i, first := range firsts {
		size := len(content(t, m, segmentPath("/log", first)))
		mark := size
		if i == len(firsts)-1 {
			mark -= frameBytes // the mark itself has no witness and nothing to lose
		}
		for at := range mark {
			c := m.CrashClone(vfs.Crash{KeepPercent: 100})
			flip(t, c, segmentPath("/log", first), at)
			l, err := Open("/log", Options{FS: c})
			var got []string
			if err == nil {
				for e, e2 := range l.Entries(0, min(l.End(), Position(n))) {
					if err = e2; err == nil {
						got = append(got, strings.Split(strings.TrimSuffix(string(e.Body), "\n"), "\n")...)
					}
				}
				if closeErr := l.Close(); closeErr != nil {
					t.Fatal(closeErr)
				}
			}
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatalf("byte %d of segment %d was flipped: error %v, %d of %d rows", at, first, err, len(got), len(all))
			}
		}
	}
}

// TestTornTails cuts a log that was not closed at every byte: what is left are whole groups, and a copy.
func TestTornTails(t *testing.T) {
	m := vfs.NewMem()
	l, err := Open("/log", Options{FS: m})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if _, err := l.Append(entry(fmt.Sprint("a", i), 1), entry(fmt.Sprint("b", i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	path := segmentPath("/log", 0)
	data := content(t, m, path)
	for size := headerBytes; size < len(data); size++ {
		c := vfs.NewMem()
		if err := errors.Join(c.MkdirAll("/log"), put(c, path, append(bytes.Clone(data[:size]), make([]byte, size%5)...))); err != nil {
			t.Fatal(err)
		}
		l, err := Open("/log", Options{FS: c})
		var corrupt *CorruptError
		if errors.As(err, &corrupt) {
			continue // a later record had said that these bytes were durable
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", size, err)
		}
		if l.End()%2 != 0 {
			t.Errorf("cut at %d: %d rows, a part of a group", size, l.End())
		}
		if torn := l.Torn(); torn != nil && torn.Copy != "" && !bytes.HasPrefix(data[torn.Offset:], content(t, c, torn.Copy)) {
			t.Errorf("cut at %d: the copy is not the tail", size)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func content(t *testing.T, m vfs.FS, path string) []byte {
	t.Helper()
	f, err := m.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(m vfs.FS, path string, data []byte) error {
	f, err := m.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func flip(t *testing.T, m vfs.FS, path string, at int) {
	t.Helper()
	data := content(t, m, path)
	data[at] ^= 0x41
	if err := put(m, path, data); err != nil {
		t.Fatal(err)
	}
}
