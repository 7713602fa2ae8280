package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sluice-sql/sluice/server"
	"github.com/sluice-sql/sluice/sinks/postgres"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// engineOwner names this process in leases: machine, process, and a random part, because numbers of processes
// come again.
var engineOwner = sync.OnceValue(func() string {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return fmt.Sprintf("%s:%d:%s", hostName(), os.Getpid(), hex.EncodeToString(random[:]))
})

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown-host"
	}
	return name
}

// leaseDirectory names a pipeline's directory in its lease: the path, for people, and the state directory's own
// name. Why a name: two machines may call different directories by one path, and one directory by two.
func (d pipelineDir) leaseDirectory() string { return string(d) + "#" + d.state().id() }

// id is the random name that a state directory got when it was first needed; empty if it cannot be kept.
func (s stateDir) id() string {
	path := filepath.Join(string(s), "id")
	for range 2 {
		if text, err := os.ReadFile(path); err == nil && len(text) > 0 {
			return strings.TrimSpace(string(text))
		}
		var random [8]byte
		_, _ = rand.Read(random[:])                                         // never fails, see crypto/rand
		_ = writeFileOnce(path, []byte(hex.EncodeToString(random[:])+"\n")) // or somebody else did; the next round reads it
	}
	return ""
}

// writeFileOnce makes a file, whole, unless it is there.
func writeFileOnce(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

// leases returns what reads and claims the leases of the daemon's database, for one goroutine.
func (n *launcher) leases(ctx context.Context, name string) (*postgres.Leases, error) {
	db, err := n.database(ctx)
	if err != nil {
		return nil, err
	}
	return postgres.NewLeases(postgres.Options{URL: db.url, Owner: engineOwner(), Directory: n.state.pipeline(name).leaseDirectory()})
}

// lastHere says whether the newest log is in this daemon's directory, as far as a lease tells.
func (n *launcher) lastHere(l postgres.Lease) bool {
	_, id, _ := strings.Cut(l.Directory, "#")
	return l.Owner == engineOwner() || id != "" && id == n.state.id()
}

var _ server.Deputy = (*launcher)(nil)

// Mine implements server.Deputy.
func (n *launcher) Mine(ctx context.Context, name string, other bool) (bool, error) {
	ls, err := n.leases(ctx, name)
	if err != nil {
		return false, err
	}
	defer ls.Close()
	l, err := ls.Read(ctx, name)
	if err != nil || l == nil {
		return !other, err
	}
	return n.lastHere(*l), nil
}

// watchEvery is how often a standby looks at a lease.
const watchEvery = 250 * time.Millisecond

// TakeOver implements server.Deputy.
func (n *launcher) TakeOver(ctx context.Context, name string, wanted func() bool, told func(owner string)) error {
	ls, err := n.leases(ctx, name)
	if err != nil {
		return err
	}
	defer ls.Close()
	var watch postgres.LeaseWatch
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		l, err := ls.Read(ctx, name)
		switch {
		case err != nil:
			watch.Blind()
		case l == nil: // the other daemon has not got to its first start
		default:
			told(l.Owner)
			if watch.Expired(*l, time.Now()) && n.mayTake(ctx, name, wanted) {
				claimed, err := ls.Claim(ctx, *l)
				if err != nil {
					return err
				}
				if claimed {
					n.log.Warn("the lease ran out and was claimed", "pipeline", name, "owner", l.Owner, "age", l.Age.Round(time.Millisecond), "released", l.Released)
					return ls.Hold(ctx, name, func(ctx context.Context) error { return n.fetch(ctx, name) })
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// fetch brings a pipeline's directory here as it is in the other daemon's.
//
// Invariant: the epoch was raised before. What the old engine still writes it can never commit, so the copy may
// have a last batch that is prepared or not, and the start settles it. The old engine may live and write on, which is
// why its files are not used in place.
func (n *launcher) fetch(ctx context.Context, name string) error {
	from, to := stateDir(n.standbyFor).pipeline(name), n.state.pipeline(name)
	tmp := pipelineDir(filepath.Join(string(n.state), "taking-over", name))
	if err := os.RemoveAll(string(tmp)); err != nil {
		return err
	}
	// What it has open here is about to be replaced.
	if err := n.inboxes.remove(name); err != nil {
		return err
	}
	if err := markMoved(from); err != nil {
		return err
	}
	if err := bringPipeline(ctx, from, tmp); err != nil {
		return fmt.Errorf("bring the log of pipeline %s from %s: %w", name, from, err)
	}
	// What this daemon had of the pipeline is older, and kept: a directory is cheaper than a regret.
	old := filepath.Join(string(n.state), "replaced", name)
	if err := errors.Join(os.RemoveAll(old), os.MkdirAll(filepath.Dir(old), 0o700), os.MkdirAll(filepath.Dir(string(to)), 0o700)); err != nil {
		return err
	}
	if err := os.Rename(string(to), old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(string(tmp), string(to)); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(string(to))), syncDir(filepath.Dir(old)))
}

// copyTries bounds how often a copy begins anew because the old engine, alive after all, deleted a file under it.
const copyTries = 5

// bringPipeline copies everything but locks and leftovers.
func bringPipeline(ctx context.Context, from, to pipelineDir) (err error) {
	for range copyTries {
		manifest := filepath.Join(from.logDir(), "MANIFEST")
		before, rerr := os.ReadFile(manifest)
		if errors.Is(rerr, fs.ErrNotExist) {
			// The directory has the record alone: a log that is kept in a bucket is restored by the start, and without
			// any log the start is refused.
			return bringTree(ctx, string(from), string(to))
		}
		if rerr != nil {
			return rerr
		}
		if err = errors.Join(os.RemoveAll(string(to)), bringTree(ctx, string(from), string(to))); err == nil {
			// The manifest goes last and as it was first: what it names was there all the time.
			after, aerr := os.ReadFile(manifest)
			if aerr != nil {
				return aerr
			}
			if string(before) == string(after) {
				return nil
			}
			err = errors.New("the log's manifest changes all the time: its engine is alive")
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return err
}

// bringTree copies a directory durably. Snapshots never change once they have their name, so they are linked where
// the file system can.
func bringTree(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch name := d.Name(); {
		case d.IsDir() && (rel == "tmp" || rel == filepath.Join("rebuild", "tmp")):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case !d.Type().IsRegular(), name == "LOCK", name == ingestlog.MovedFile, strings.HasSuffix(name, ".tmp"), strings.HasPrefix(name, ".tmp-"), strings.HasPrefix(name, ".new-"):
			return nil
		case strings.HasSuffix(name, ".snap") && os.Link(path, target) == nil:
			return nil
		}
		text, err := os.Open(path)
		if err != nil {
			return err
		}
		defer text.Close()
		out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = out.ReadFrom(text)
		return errors.Join(err, out.Sync(), out.Close())
	})
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// errElsewhere marks a pipeline that another engine runs now.
var errElsewhere = errors.New("another engine runs it")

// elsewhere refuses a start beside a live engine of another directory: taking over from it would cost it the
// pipeline, whether or not this daemon's log is good for anything.
func (n *launcher) elsewhere(ctx context.Context, name string) error {
	ls, err := n.leases(ctx, name)
	if err != nil {
		return err
	}
	defer ls.Close()
	l, err := ls.Read(ctx, name)
	if err != nil || l == nil || !l.Fresh() || n.lastHere(*l) {
		return err
	}
	directory, _, _ := strings.Cut(l.Directory, "#")
	return fmt.Errorf("pipeline %s: %w: %s, with the log in %s, renewed its lease %s ago\nHint: stop that engine first; or start this daemon with --standby, and it waits its turn",
		name, errElsewhere, l.Owner, directory, l.Age.Round(100*time.Millisecond))
}
