package pgcluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// ErrNotInstalled marks (errors.Is) a machine without PostgreSQL server programs.
var ErrNotInstalled = errors.New("no PostgreSQL server programs found")

// programs must all be in one directory for it to count as an installation.
var programs = []string{"postgres", "initdb", "psql"}

// Find returns the directory of the PostgreSQL server programs: the one in PATH, or the newest of the
// places where Debian, Red Hat, Homebrew and Postgres.app put them.
func Find() (bin string, err error) {
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil && complete(filepath.Dir(p)) {
			return filepath.Dir(p), nil
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
		"/usr/pgsql-*/bin",          // Red Hat (PGDG)
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/opt/homebrew/opt/postgresql/bin",
		"/usr/local/opt/postgresql/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/usr/local/pgsql/bin",
		"/usr/bin", // Arch, Fedora
	} {
		if dir := newest(pattern); dir != "" {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%w\nHint: install them (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql), "+
		"or name a server of your own with --postgres or SLUICE_POSTGRES", ErrNotInstalled)
}

// newest returns the complete installation with the greatest version in its path.
func newest(pattern string) string {
	dirs, _ := filepath.Glob(pattern) // the patterns above are well formed
	sort.Slice(dirs, func(i, j int) bool { return majorOf(dirs[i]) > majorOf(dirs[j]) })
	for _, d := range dirs {
		if complete(d) {
			return d
		}
	}
	return ""
}

// majorOf reads the version number out of a path such as /usr/lib/postgresql/15/bin; 0 if it has none.
func majorOf(dir string) float64 {
	base := filepath.Base(filepath.Dir(dir))
	v, _ := strconv.ParseFloat(strings.TrimLeft(base, "abcdefghijklmnopqrstuvwxyz-@"), 64)
	return v
}

func complete(dir string) bool {
	for _, p := range programs {
		if st, err := os.Stat(filepath.Join(dir, p)); err != nil || st.IsDir() || st.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}
