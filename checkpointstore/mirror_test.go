package checkpointstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/internal/s3test"
	"github.com/sluice-sql/sluice/internal/vfs"
)

// After every batch that was let through, the bucket alone has it.
func TestEveryBatchIsInTheBucket(t *testing.T) {
	s3test.SetEnv(t)
	s := s3test.New(t)
	disk := vfs.NewMem()
	e := start(t, disk, 1, fast(t, s, disk))
	for range 33 {
		e.run(1)
		copied, c := restored(t, at(t, s))
		if c == nil || c.Prepared != e.batch {
			t.Fatalf("the copy is %+v, want one of batch %d", c, e.batch)
		}
		mustHold(t, copied, e.batch)
	}
	e.close()
}

// When everything is uploaded, the copy has the bytes of the original, and the bucket nothing else.
func TestCopyIsTheSameByteForByte(t *testing.T) {
	s3test.SetEnv(t)
	s := s3test.New(t)
	disk := vfs.NewMem()
	e := start(t, disk, 1, fast(t, s, disk))
	e.run(64)
	settle(t, s, e)
	copied, _ := restored(t, at(t, s))
	mustEqual(t, disk, copied)
	// One object a sealed file.
	m := newestManifest(t, s)
	named := 1
	for i, f := range m.Files {
		named += len(f.Objects)
		if len(f.Objects) != 1 && strings.HasSuffix(f.Name, ".log") && strings.HasSuffix(m.Files[i+1].Name, ".log") {
			t.Errorf("%s is sealed and has %d objects", f.Name, len(f.Objects))
		}
	}
	if keys := s.Keys("some/prefix/"); len(keys) != named {
		t.Errorf("%d objects are named, and there are %d:\n%s", named, len(keys), strings.Join(keys, "\n"))
	}
	e.close()
}

// settle waits until snapshots and sealed segments are uploaded and what they replace is deleted.
func settle(t testing.TB, s *s3test.Server, e *engine) {
	t.Helper()
	for _, m := range e.mirrors {
		until(t, "everything uploaded", func() bool {
			if m.pass(context.Background()) != nil || m.nextBulk() != nil {
				return false
			}
			if m.pass(context.Background()) != nil {
				return false
			}
			live := e.log.Live()
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.published != nil && len(m.published.LiveCopy.Files) == len(live.Segments)+len(live.Snapshots) && len(m.stored) == len(m.published.keys)
		})
	}
}

func newestManifest(t testing.TB, s *s3test.Server) *manifest {
	t.Helper()
	b, err := newBucket(at(t, s), 0)
	must(t, err)
	m, err := newest(context.Background(), b, at(t, s).root(pipeline))
	must(t, err)
	return m
}

// Whatever becomes of requests, batches are let through late and never without their copy.
func TestFaultyBucket(t *testing.T) {
	s3test.SetEnv(t)
	for name, f := range map[string]s3test.Fault{"fail": s3test.Fail, "slow down": s3test.SlowDown, "short": s3test.Short, "lost": s3test.Lost} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := s3test.New(t)
			disk := vfs.NewMem()
			e := start(t, disk, 1, fast(t, s, disk))
			var mu sync.Mutex
			rng := rand.New(rand.NewPCG(1, uint64(f)))
			s.Fault(func(r *http.Request) s3test.Fault {
				mu.Lock()
				defer mu.Unlock()
				if rng.IntN(4) == 0 {
					return f
				}
				return s3test.None
			})
			for range 12 {
				e.run(1)
				copied, _ := restored(t, at(t, s))
				mustHold(t, copied, e.batch)
			}
			s.Fault(nil)
			settle(t, s, e)
			copied, _ := restored(t, at(t, s))
			mustEqual(t, disk, copied)
			e.close()
		})
	}
}

// A server that does not answer counts as one that fails.
func TestStallIsAFailure(t *testing.T) {
	s3test.SetEnv(t)
	s := s3test.New(t)
	disk := vfs.NewMem()
	o := fast(t, s, disk)
	o.RequestTimeout = 50 * time.Millisecond
	e := start(t, disk, 1, o)
	e.run(3)
	s.Fault(s3test.Always(s3test.Stall))
	e.append()
	e.prepare()
	let := make(chan error, 1)
	go func() { let <- e.mirrors[0].Prepared(context.Background(), e.batch) }()
	until(t, "the status says so", func() bool {
		st := e.mirrors[0].Status()
		return st.Waiting && st.Error != "" && st.Batch == 3 && st.Behind > 0
	})
	select {
	case err := <-let:
		t.Fatalf("the batch was let through: %v", err)
	default:
	}
	s.Fault(nil)
	must(t, <-let)
	e.commit()
	until(t, "the status says that it is over", func() bool { st := e.mirrors[0].Status(); return st.Error == "" && st.Batch == 4 })
	e.close()
	copied, _ := restored(t, at(t, s))
	mustHold(t, copied, 4)
}

// In the background an outage delays nothing until the copy is too old; then batches wait, and can be given up.
func TestOutageInTheBackground(t *testing.T) {
	s3test.SetEnv(t)
	s := s3test.New(t)
	disk := vfs.NewMem()
	o := fast(t, s, disk)
	o.Sync, o.MaxLag = Background, 300*time.Millisecond
	e := start(t, disk, 1, o)
	e.run(2)
	s.Fault(s3test.Always(s3test.SlowDown))
	began := time.Now()
	e.run(5)
	until(t, "the copy is too old", func() bool { return time.Since(began) > 2*o.MaxLag })
	e.append()
	e.prepare()
	ctx, cancel := context.WithCancel(context.Background())
	let := make(chan error, 1)
	go func() { let <- e.mirrors[0].Prepared(ctx, e.batch) }()
	until(t, "the pipeline waits", func() bool { return e.mirrors[0].Status().Waiting })
	cancel()
	if err := <-let; !errors.Is(err, context.Canceled) {
		t.Fatalf("given up with %v", err)
	}
	s.Fault(nil)
	must(t, e.mirrors[0].Prepared(context.Background(), e.batch))
	e.commit()
	e.run(10)
	e.close()
	copied, _ := restored(t, at(t, s))
	mustHold(t, copied, e.batch)
}

// In an outage batches also wait when too much of the log is without a copy, what an earlier engine left included.
func TestOutageOfManyBytes(t *testing.T) {
	s3test.SetEnv(t)
	s := s3test.New(t)
	disk := vfs.NewMem()
	o := fast(t, s, disk)
	o.Sync, o.MaxLag = Background, time.Hour
	e := start(t, disk, 1, o)
	e.run(2)
	until(t, "all is copied", func() bool { st := e.mirrors[0].Status(); return st.Batch == 2 && st.BehindBytes == 0 })
	s.Fault(s3test.Always(s3test.SlowDown))
	e.run(20)
	left := e.mirrors[0].Status().BehindBytes
	if left < 20*100 {
		t.Fatalf("20 batches are %d bytes behind", left)
	}
	e.close()
	s.Fault(func(r *http.Request) s3test.Fault { // it may look, and not write
		if r.Method == http.MethodPut {
			return s3test.SlowDown
		}
		return s3test.None
	})
	o.MaxLagBytes = left + 1
	e = start(t, disk, 2, o)
	if got := e.mirrors[0].Status().BehindBytes; got < left || got > 2*left {
		t.Errorf("the next engine is %d bytes behind, and the one before it was %d", got, left)
	}
	e.append()
	e.prepare()
	let := make(chan error, 1)
	go func() { let <- e.mirrors[0].Prepared(context.Background(), e.batch) }()
	until(t, "the pipeline waits", func() bool { return e.mirrors[0].Status().Waiting })
	s.Fault(nil)
	must(t, <-let)
	e.commit()
	e.run(3)
	e.close()
	copied, _ := restored(t, at(t, s))
	mustHold(t, copied, e.batch)
}

// A bound that every batch exceeds only makes each wait for its copy.
func TestLeastLag(t *testing.T) {
	s3test.SetEnv(t)
	s := s3test.New(t)
	disk := vfs.NewMem()
	o := fast(t, s, disk)
	o.Sync, o.MaxLagBytes = Background, 1
	e := start(t, disk, 1, o)
	e.run(5)
	if st := e.mirrors[0].Status(); st.Batch != 5 {
		t.Errorf("batch 5 was let through with a copy up to batch %d", st.Batch)
	}
	e.close()
}

// An engine that was taken over goes on writing and deleting, and harms nothing of the newer one's.
func TestTwoEngines(t *testing.T) {
	s3test.SetEnv(t)
	s := s3test.New(t)
	oldDisk := vfs.NewMem()
	old := start(t, oldDisk, 1, fast(t, s, oldDisk))
	old.run(23)
	newDisk, _ := restored(t, at(t, s))
	fresh := start(t, newDisk, 2, fast(t, s, newDisk))
	for range 12 {
		old.run(3)
		fresh.run(2)
		copied, c := restored(t, at(t, s))
		if c.Epoch != 2 || c.Prepared != fresh.batch {
			t.Fatalf("the copy is of epoch %d and batch %d, want that of epoch 2 and batch %d", c.Epoch, c.Prepared, fresh.batch)
		}
		mustHold(t, copied, fresh.batch)
	}
	old.close()
	fresh.close()
	copied, _ := restored(t, at(t, s))
	mustHold(t, copied, fresh.batch)
}

// What the bucket has already is copied by the server, and what older engines left is deleted.
func TestNextEngineUploadsNothingAgain(t *testing.T) {
	s3test.SetEnv(t)
	s := s3test.New(t)
	disk := vfs.NewMem()
	e := start(t, disk, 1, fast(t, s, disk))
	e.run(34)
	settle(t, s, e)
	e.close()
	uploaded := 0
	s.Fault(func(r *http.Request) s3test.Fault {
		if r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") == "" && strings.Contains(r.URL.Path, "/objects/") {
			uploaded++
		}
		return s3test.None
	})
	e = start(t, disk, 2, fast(t, s, disk))
	settle(t, s, e)
	// The end of the last segment may have moved by the record of a clean close.
	if uploaded > 1 {
		t.Errorf("%d objects were uploaded again", uploaded)
	}
	for _, key := range s.Keys("some/prefix/") {
		if ns, ok := namespaceOf("some/prefix/demo/", key); !ok || ns.epoch != 2 {
			t.Errorf("%s is still there", key)
		}
	}
	e.run(1)
	e.close()
	copied, _ := restored(t, at(t, s))
	mustHold(t, copied, e.batch)
}

// An engine whose epoch is not the newest must not write: its database is not the one of the copy.
func TestOlderEpochIsRefused(t *testing.T) {
	s3test.SetEnv(t)
	s := s3test.New(t)
	disk := vfs.NewMem()
	e := start(t, disk, 7, fast(t, s, disk))
	e.run(2)
	e.close()
	e = start(t, disk, 6)
	m, err := New(fast(t, s, disk))
	must(t, err)
	if err := m.Start(context.Background(), e.log, 6); err == nil || !strings.Contains(err.Error(), "epoch 7") {
		t.Errorf("started with %v", err)
	}
}

func TestRefusalsAreSaidAtOnce(t *testing.T) {
	s3test.SetEnv(t)
	s := s3test.New(t)
	disk := vfs.NewMem()
	e := start(t, disk, 1)
	s.Fault(s3test.Always(s3test.Denied))
	m, err := New(fast(t, s, disk))
	must(t, err)
	err = m.Start(context.Background(), e.log, 1)
	if err == nil || !strings.Contains(err.Error(), "Hint: the credentials must allow") || strings.Contains(err.Error(), "verysecret") {
		t.Errorf("denied: %v", err)
	}
	s.Fault(nil)
	o := fast(t, s, disk)
	o.Location.Bucket = "another"
	m, err = New(o)
	must(t, err)
	if err := m.Start(context.Background(), e.log, 1); err == nil || !strings.Contains(err.Error(), "create the bucket") {
		t.Errorf("no bucket: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	t.Setenv("HOME", t.TempDir())
	m, err = New(fast(t, s, disk))
	must(t, err)
	if err := m.Start(context.Background(), e.log, 1); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("no credentials: %v", err)
	}
}
