package checkpointstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/s3test"
	"github.com/sluice-sql/sluice/internal/vfs"
)

// filled is a server with a copy up to a batch, and the disk that it is of.
func filled(t testing.TB, batches int) (*s3test.Server, *vfs.Mem) {
	t.Helper()
	s3test.SetEnv(t)
	s, disk := s3test.New(t), vfs.NewMem()
	e := start(t, disk, 1, fast(t, s, disk))
	e.run(batches)
	settle(t, s, e)
	e.close()
	return s, disk
}

// Whatever single object is damaged, cut or missing, the copy is refused and nothing is put in place.
func TestDamagedCopyIsRefused(t *testing.T) {
	s, _ := filled(t, 12)
	for _, key := range s.Keys("some/prefix/") {
		whole := s.Get(key)
		flipped := bytes.Clone(whole)
		flipped[len(flipped)/2] ^= 4
		for how, content := range map[string][]byte{"flipped": flipped, "cut": whole[:len(whole)-1], "longer": append(bytes.Clone(whole), 'x'), "missing": nil} {
			if content == nil {
				s.Delete(key)
			} else {
				s.Put(key, content)
			}
			fsys := vfs.NewMem()
			c, err := Restore(context.Background(), restoreOptions(fsys, at(t, s)))
			if missingManifest := how == "missing" && strings.Contains(key, manifestDir); missingManifest && (c != nil || err != nil) || !missingManifest && err == nil {
				t.Errorf("%s %s: restored %+v, %v", key, how, c, err)
			}
			if _, err := fsys.ReadDir(logDir); err == nil {
				t.Errorf("%s %s: a log was put in place", key, how)
			}
		}
		s.Put(key, whole)
	}
	copied, _ := restored(t, at(t, s))
	mustHold(t, copied, 12)
}

// Short reads and throttling only delay.
func TestRestoreTriesAgain(t *testing.T) {
	s, disk := filled(t, 12)
	for _, f := range []s3test.Fault{s3test.Short, s3test.SlowDown, s3test.Fail} {
		n := 0
		s.Fault(func(r *http.Request) s3test.Fault {
			if n++; n%3 == 0 {
				return f
			}
			return s3test.None
		})
		copied, _ := restored(t, at(t, s))
		mustEqual(t, disk, copied)
	}
}

// The newer of two copies is restored, wherever it is named, and the other one if it is damaged or cannot be reached.
func TestTwoBuckets(t *testing.T) {
	s3test.SetEnv(t)
	one, two, disk := s3test.New(t), s3test.New(t), vfs.NewMem()
	e := start(t, disk, 1, fast(t, one, disk), fast(t, two, disk))
	e.run(8)
	e.close()
	e = start(t, disk, 2, fast(t, two, disk))
	e.run(3)
	e.close()
	for _, locations := range [][]Location{{at(t, one), at(t, two)}, {at(t, two), at(t, one)}} {
		copied, c := restored(t, locations...)
		mustHold(t, copied, 11)
		if c.Location != at(t, two) {
			t.Errorf("restored from %s", c.Location)
		}
	}
	two.Fault(func(r *http.Request) s3test.Fault {
		if strings.Contains(r.URL.Path, ".log/") {
			return s3test.Fail
		}
		return s3test.None
	})
	copied, _ := restored(t, at(t, one), at(t, two))
	mustHold(t, copied, 8)
	two.Fault(s3test.Always(s3test.Denied))
	copied, _ = restored(t, at(t, one), at(t, two))
	mustHold(t, copied, 8)
	one.Fault(s3test.Always(s3test.Fail))
	if _, err := Restore(context.Background(), restoreOptions(vfs.NewMem(), at(t, one), at(t, two))); err == nil {
		t.Error("no bucket can be reached, and there was no error")
	}
}

// What is in the way of a restore is set aside with all that is in it; a log in use stops it.
func TestRestoreSetsAside(t *testing.T) {
	s, _ := filled(t, 12)
	disk := vfs.NewMem()
	e := start(t, disk, 9)
	e.run(3)
	if _, err := Restore(context.Background(), restoreOptions(disk, at(t, s))); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("a log in use was replaced: %v", err)
	}
	must(t, e.log.Close())
	for i := 1; i <= 2; i++ {
		_, err := Restore(context.Background(), restoreOptions(disk, at(t, s)))
		must(t, err)
		mustHold(t, disk, 12)
		aside, err := checkpointlog.Verify(fmt.Sprintf("%s.aside-%d", logDir, i), disk)
		must(t, err)
		if want := []int64{3, 12}[i-1]; aside.LastPrepared.Batch != want {
			t.Errorf("what was set aside ends at batch %d, want %d", aside.LastPrepared.Batch, want)
		}
	}
}

// Every file operation of a restore fails once, and is the last one before a power cut once: there is the whole
// log or none, and the next restore makes it whole.
func TestRestoreSweep(t *testing.T) {
	s, disk := filled(t, 6)
	errCut := errors.New("the machine has lost power")
	for k, done := 1, false; !done; k++ {
		for _, once := range []bool{true, false} {
			under := vfs.NewMem()
			n := 0
			fsys := vfs.Inject(under, func(vfs.Op) error {
				if n++; n == k || n > k && !once {
					return errCut
				}
				return nil
			})
			if _, err := Restore(context.Background(), restoreOptions(fsys, at(t, s))); n < k {
				must(t, err)
				done = true
				break
			}
			for _, keep := range []int{0, 50, 100} {
				after := under.CrashClone(vfs.Crash{KeepPercent: keep})
				if _, err := after.ReadDir(logDir); err == nil {
					if _, err := checkpointlog.Verify(logDir, after); err != nil {
						t.Fatalf("operation %d (once: %t), %d%% kept: a log that is not whole: %v", k, once, keep, err)
					}
					continue
				}
				if _, err := Restore(context.Background(), restoreOptions(after, at(t, s))); err != nil {
					t.Fatalf("operation %d (once: %t), %d%% kept: restore again: %v", k, once, keep, err)
				}
				mustEqual(t, disk, after)
			}
		}
	}
}

func TestRemoveTakesItsOwnOnly(t *testing.T) {
	s, _ := filled(t, 6)
	others := []string{"some/prefix/demo", "some/prefix/demo2/manifest/0000000000000001-a", "some/prefix/demo/manifest/readme", "some/prefix/demo/objects/x/y", "some/prefix/other", "elsewhere"}
	for _, key := range others {
		s.Put(key, []byte("mine"))
	}
	n, err := Remove(context.Background(), at(t, s), pipeline)
	must(t, err)
	slices.Sort(others)
	if got := s.Keys(""); n == 0 || !slices.Equal(got, others) {
		t.Errorf("%d objects removed, left are %q", n, got)
	}
	if n, err := Remove(context.Background(), at(t, s), pipeline); n != 0 || err != nil {
		t.Errorf("removed again: %d, %v", n, err)
	}
}

// A segment of many small batches is some objects, and no byte of it is sent often.
func TestParts(t *testing.T) {
	const batches = 10_000
	var have []object
	var sent int64
	for i := int64(1); i <= batches; i++ {
		keep, level := nextPart(have)
		from := file{Objects: have[:keep]}.bytes()
		have = append(have[:keep:keep], object{From: from, Bytes: i - from, level: level})
		sent += i - from
		if len(have) > 5*fanIn {
			t.Fatalf("%d objects after %d batches", len(have), i)
		}
	}
	if sent > 5*batches {
		t.Errorf("%d batches were sent %.1f times each", batches, float64(sent)/batches)
	}
}

func TestParseLocation(t *testing.T) {
	for text, want := range map[string]Location{
		"s3://b":                          {Bucket: "b", Endpoint: amazon},
		"s3://b/a/c/?region=eu-central-1": {Bucket: "b", Prefix: "a/c", Endpoint: amazon, Region: "eu-central-1"},
		"s3://b/p?endpoint=http://127.0.0.1:9000":    {Bucket: "b", Prefix: "p", Endpoint: "127.0.0.1:9000", Insecure: true, PathStyle: true},
		"s3://b?endpoint=minio:9000":                 {Bucket: "b", Endpoint: "minio:9000", PathStyle: true},
		"s3://b?endpoint=https://x&path_style=false": {Bucket: "b", Endpoint: "x"},
	} {
		got, err := ParseLocation(text)
		if err != nil || got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "b/p", "http://b/p", "s3:///p", "s3://user:hush@b/p", "s3://b/p?secret_key=hush", "s3://b/a//c", "s3://b/../c",
		"s3://b?endpoint=", "s3://b?endpoint=https://u:hush@x", "s3://b?endpoint=ftp://x", "s3://b?path_style=maybe", "s3://b?region=a&region=b", "s3://b#f", "s3://b?%zz"} {
		if l, err := ParseLocation(text); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s is %+v, %v", text, l, err)
		}
	}
}

// A manifest that leads out of the directory, or does not fit together, is refused.
func TestManifestIsChecked(t *testing.T) {
	sum := strings.Repeat("0", 64)
	good := manifest{Pipeline: "p", Log: "x", WrittenAt: time.Unix(1, 0), Files: []file{{"log/a", []object{{Key: "objects/1/a", Bytes: 3, SHA256: sum}, {Key: "objects/1/b", From: 3, Bytes: 1, SHA256: sum}}}}}
	if _, err := decodeManifest(good.encode()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*manifest){
		"no pipeline": func(m *manifest) { m.Pipeline = "" },
		"up":          func(m *manifest) { m.Files[0].Name = "../a" },
		"up later":    func(m *manifest) { m.Files[0].Name = "log/../../a" },
		"absolute":    func(m *manifest) { m.Files[0].Name = "/log/a" },
		"no dir":      func(m *manifest) { m.Files[0].Name = "a" },
		"twice":       func(m *manifest) { m.Files = append(m.Files, m.Files[0]) },
		"hole":        func(m *manifest) { m.Files[0].Objects[1].From = 4 },
		"key":         func(m *manifest) { m.Files[0].Objects[1].Key = "elsewhere" },
	} {
		m := good
		m.Files = []file{{good.Files[0].Name, slices.Clone(good.Files[0].Objects)}}
		spoil(&m)
		if _, err := decodeManifest(m.encode()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
