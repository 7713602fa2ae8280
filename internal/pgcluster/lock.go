package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// locks decide who starts and who stops the server, by two flock(2) files beside the data directory:
//
//	postgres.start.lock  exclusive while someone initialises, starts or stops the server
//	postgres.users.lock  shared by every process that uses the server
//
// The kernel drops both when a process dies, however it dies, so no cleanup is ever needed.
type locks struct {
	dir          string
	start, users *os.File
}

// lockForStart takes the start lock and joins the users.
func lockForStart(ctx context.Context, dir string) (*locks, error) {
	l := &locks{dir: dir}
	if err := l.lockStart(ctx); err != nil {
		return nil, err
	}
	users, err := openLock(filepath.Join(dir, "postgres.users.lock"))
	if err != nil {
		l.endStart()
		return nil, err
	}
	l.users = users
	// Only a stopper takes this lock exclusively, and it holds the start lock meanwhile: no wait here.
	if err := syscall.Flock(int(users.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		l.endStart()
		l.release()
		return nil, fmt.Errorf("claim the embedded postgres: %w", err)
	}
	return l, nil
}

func (l *locks) lockStart(ctx context.Context) error {
	f, err := openLock(filepath.Join(l.dir, "postgres.start.lock"))
	if err != nil {
		return err
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			l.start = f
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return fmt.Errorf("wait for another sluice that starts or stops postgres (%s): %w", f.Name(), context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// endStart lets others start and stop the server.
func (l *locks) endStart() {
	if l.start != nil {
		l.start.Close()
		l.start = nil
	}
}

// beginStop takes the start lock, leaves the users and reports whether nobody else uses the server.
func (l *locks) beginStop(ctx context.Context) (last bool, err error) {
	if l.users == nil {
		return false, nil // stopped before
	}
	if err := l.lockStart(ctx); err != nil {
		return false, err
	}
	last = syscall.Flock(int(l.users.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	l.release()
	return last, nil
}

func (l *locks) release() {
	if l.users != nil {
		l.users.Close()
		l.users = nil
	}
}

func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	return f, nil
}
