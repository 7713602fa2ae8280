package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/sluice-sql/sluice/microbatch"
)

// Desired is the state that a pipeline should be in, whatever happens to the daemon.
type Desired string

const (
	WantRunning Desired = "running"
	WantStopped Desired = "stopped"
	// WantDropped is a drop that has begun: a daemon that finds it completes it.
	WantDropped Desired = "dropped"
)

// record is pipeline.json. The SQL lies beside it, so that a person can read it.
type record struct {
	Format   int     `json:"format"`
	Spec     Spec    `json:"spec"`
	Desired  Desired `json:"desired"`
	Finished bool    `json:"finished,omitempty"`
	Tables   Tables  `json:"drop_tables,omitempty"`
	// KeepRemote is of a drop, as Tables is.
	KeepRemote bool `json:"drop_keep_remote,omitempty"`
	// Next is a new version, with its text, that is to take the place of Spec. While it is here, which of the two the
	// pipeline is the log tells.
	Next *Spec `json:"next,omitempty"`
	// Adopted: another daemon runs it, and this directory has no log of it yet.
	Adopted     bool                 `json:"adopted,omitempty"`
	SubmittedAt time.Time            `json:"submitted_at"`
	Description Description          `json:"description"`
	Progress    *microbatch.Progress `json:"last_progress,omitempty"`
}

const recordFormat = 1

// store keeps records in dir/NAME.
type store struct{ dir string }

// namePattern keeps names usable as a directory, in a URL and on a command line, on every system.
// Why so short: what is added to a name must fit into Postgres's 63 bytes.
var namePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,47}$`)

func checkName(name string) error {
	if !namePattern.MatchString(name) {
		return newError(CodeBadRequest, "use up to 48 letters, digits, _ and -, beginning with a letter or _; --name gives it another",
			"invalid pipeline name %q", name)
	}
	return nil
}

func (s store) path(name, file string) string { return filepath.Join(s.dir, name, file) }

// create writes a new pipeline. pipeline.json comes last: a directory without it is none of ours (a
// foreground run may keep its log there).
func (s store) create(r record) error {
	if err := os.MkdirAll(filepath.Join(s.dir, r.Spec.Name), 0o700); err != nil {
		return fmt.Errorf("create the pipeline's directory: %w", err)
	}
	if err := writeFile(s.path(r.Spec.Name, "pipeline.sql"), []byte(r.Spec.SQL)); err != nil {
		return err
	}
	if err := s.save(r); err != nil {
		return err
	}
	return syncDir(s.dir)
}

func (s store) save(r record) error {
	r.Format, r.Spec.SQL = recordFormat, ""
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode pipeline.json: %w", err)
	}
	return writeFile(s.path(r.Spec.Name, "pipeline.json"), append(b, '\n'))
}

// undo removes what create wrote, and nothing else that lies there.
func (s store) undo(name string) error {
	var errs []error
	for _, file := range []string{"pipeline.json", "pipeline.sql"} {
		if err := os.Remove(s.path(name, file)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	_ = os.Remove(filepath.Join(s.dir, name)) // only when empty
	return errors.Join(errs...)
}

// remove makes the pipeline unknown first; what else lies in the directory is removed with it.
func (s store) remove(name string) error {
	if err := os.Remove(s.path(name, "pipeline.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// names lists the pipelines that there are.
func (s store) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if _, err := os.Stat(s.path(e.Name(), "pipeline.json")); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (s store) load(name string) (record, error) {
	r := record{Spec: Spec{Name: name}}
	b, err := os.ReadFile(s.path(name, "pipeline.json"))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", s.path(name, "pipeline.json"), err)
	}
	if r.Format != recordFormat || r.Spec.Name != name {
		return r, fmt.Errorf("%s has format %d and names pipeline %q; want format %d and %q\nHint: use the sluice that wrote it, or restore it from a copy",
			s.path(name, "pipeline.json"), r.Format, r.Spec.Name, recordFormat, name)
	}
	sql, err := os.ReadFile(s.path(name, "pipeline.sql"))
	r.Spec.SQL = string(sql)
	return r, err
}

// writeFile replaces a file atomically and durably.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600: SQL may hold secrets
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	_, werr := f.Write(data)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
