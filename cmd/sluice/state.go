package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/planner/ddl"
)

// A stateDir is where sluice keeps what must outlive the process:
//
//	pipelines/NAME/log/           the checkpoint log
//	pipelines/NAME/tables/TABLE/  the ingest logs of tables that change
//	pipelines/NAME/pipeline.sql   the text that runs, byte for byte
//	pipelines/NAME/run.json       what else it takes to run it again (see record)
//	pipelines/NAME/tmp/           where DuckDB spills; empty between runs
//	savepoints/                   named copies of pipelines (package savepoint)
//	postgres/                     the embedded PostgreSQL cluster
type stateDir string

// pipelineDir is one pipeline's part of it. It may also lie elsewhere: commands take a directory.
type pipelineDir string

func (s stateDir) pipeline(name string) pipelineDir {
	return pipelineDir(filepath.Join(string(s), "pipelines", name))
}

func (d pipelineDir) logDir() string     { return filepath.Join(string(d), "log") }
func (d pipelineDir) tempDir() string    { return filepath.Join(string(d), "tmp") }
func (d pipelineDir) sqlFile() string    { return filepath.Join(string(d), "pipeline.sql") }
func (d pipelineDir) tablesDir() string  { return filepath.Join(string(d), "tables") }
func (d pipelineDir) recordFile() string { return filepath.Join(string(d), "run.json") }

// state is the state directory that a pipeline's directory is part of.
func (d pipelineDir) state() stateDir { return stateDir(filepath.Dir(filepath.Dir(string(d)))) }

// stateDirFrom picks the state directory: the flag, then SLUICE_STATE_DIR, then the XDG state home.
func (a *app) stateDirFrom(flag string) (stateDir, error) {
	if flag != "" {
		return absDir(flag)
	}
	if dir, ok := a.env("SLUICE_STATE_DIR"); ok && dir != "" {
		return absDir(dir)
	}
	if dir, ok := a.env("XDG_STATE_HOME"); ok && filepath.IsAbs(dir) {
		return stateDir(filepath.Join(dir, "sluice")), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the state directory: %w\nHint: name one with --state-dir or SLUICE_STATE_DIR", err)
	}
	return stateDir(filepath.Join(home, ".local", "state", "sluice")), nil
}

func absDir(dir string) (stateDir, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the state directory: %w", err)
	}
	return stateDir(abs), nil
}

// maxNameChars leaves room in Postgres's 63 bytes for what is added to a name.
const maxNameChars = 48

var pipelineName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// checkName refuses names that cannot be a directory, a ledger key and a word on a command line at once.
func checkName(name string) error {
	switch {
	case len(name) > maxNameChars:
		return fmt.Errorf("pipeline name %q has %d characters, and %d are allowed\nhint: give it another with --name", name, len(name), maxNameChars)
	case !pipelineName.MatchString(name):
		return fmt.Errorf("%q is not a pipeline name: letters, digits, _ and - are allowed, and a letter or _ must come first\nhint: give it another with --name", name)
	}
	return nil
}

// nameOf derives a pipeline's name from its file.
func nameOf(path string) string {
	return strings.TrimSuffix(filepath.Base(path), ".sql")
}

// record is run.json: what the text alone does not say.
type record struct {
	Name string `json:"name"`
	// File is where the text came from; relative paths in it start at BaseDir.
	File    string `json:"file"`
	BaseDir string `json:"base_dir"`
	// Postgres is the connection string without its password. Embedded says that it is the cluster of the
	// state directory instead. Neither: no view goes to Postgres.
	Postgres string `json:"postgres,omitempty"`
	Embedded bool   `json:"embedded,omitempty"`
	UntilEnd bool   `json:"until_end,omitempty"`
	// Settings are pipeline options that the command line gave.
	Settings map[string]string `json:"settings,omitempty"`
	// Scratch is set in the copies that sluice drill makes.
	Scratch   *scratch  `json:"scratch,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	StartedAt time.Time `json:"started_at"`
	Version   string    `json:"sluice_version"`
}

// save writes the text and the record, each whole or not at all.
func (d pipelineDir) save(text []byte, r record) error {
	if old, err := d.record(); err == nil {
		r.CreatedAt = old.CreatedAt
	}
	doc, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", d.recordFile(), err)
	}
	if err := writeFile(d.sqlFile(), text); err != nil {
		return err
	}
	return writeFile(d.recordFile(), append(doc, '\n'))
}

func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // gone already if all went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// record reads run.json.
func (d pipelineDir) record() (r record, err error) {
	doc, err := os.ReadFile(d.recordFile())
	if errors.Is(err, fs.ErrNotExist) {
		// A first start that was refused, or that crashed before its first batch, leads here.
		return r, fmt.Errorf("read the pipeline's record: %w\nHint: the pipeline has not got to its first batch yet; start it with sluice run", err)
	}
	if err != nil {
		return r, fmt.Errorf("read the pipeline's record: %w", err)
	}
	if err := json.Unmarshal(doc, &r); err != nil {
		return r, fmt.Errorf("read %s: %w\nHint: start the pipeline once more with sluice run, which writes it anew", d.recordFile(), err)
	}
	return r, nil
}

// names lists the pipelines of a state directory.
func (s stateDir) names() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(string(s), "pipelines"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list pipelines: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && checkName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

// find resolves a NAME|DIR argument: a path, or the name of a pipeline in the state directory.
func (s stateDir) find(arg string) (pipelineDir, error) {
	if strings.ContainsRune(arg, filepath.Separator) || arg == "." || arg == ".." {
		dir := filepath.Clean(arg)
		if filepath.Base(dir) == "log" && !exists(filepath.Join(dir, "log")) && exists(pipelineDir(filepath.Dir(dir)).sqlFile()) {
			dir = filepath.Dir(dir)
		}
		if !exists(dir) {
			return "", fmt.Errorf("there is no directory %s", arg)
		}
		abs, err := filepath.Abs(dir)
		return pipelineDir(abs), err
	}
	if dir := s.pipeline(arg); exists(string(dir)) {
		return dir, nil
	}
	if exists(filepath.Join(arg, "log")) {
		return pipelineDir(arg), nil
	}
	names, err := s.names()
	if err != nil {
		return "", err
	}
	hint := "there are none in " + string(s) + "; start one with sluice run, or name the right --state-dir"
	if best := ddl.Suggest(arg, names); best != "" {
		hint = fmt.Sprintf("did you mean %s?", best)
	} else if len(names) > 0 {
		hint = "in " + string(s) + " there are " + strings.Join(names, ", ")
	}
	return "", fmt.Errorf("there is no pipeline %s\nhint: %s", arg, hint)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
