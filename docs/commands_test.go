// Package docs runs the commands that the documents show.
package docs

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/kafkatest"
)

var update = flag.Bool("update", false, "write what the commands print into the documents")

// documents have ```console blocks: lines that begin with "$ " are commands, "> " continues one, and what
// follows is what they print, both streams together. The blocks of a document run in order, in one folder
// that has queries and testdata in it, with a state directory and a PostgreSQL of their own.
var documents = []string{"../README.md", "sql.md", "nexmark.md", "operations.md", "kafka.md", "cdc.md", "formats.md", "http.md"}

func TestCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("runs whole pipelines")
	}
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "../cmd/sluice").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, name := range documents {
		t.Run(filepath.Base(name), func(t *testing.T) {
			old, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := runDocument(t, string(old), newShell(t, bin))
			if *update {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(steady(string(old)), steady(got)); diff != "" {
				t.Errorf("the commands print something else (-document +now); `go test ./docs -update` writes it down\n%s", diff)
			}
		})
	}
}

// A shell runs commands in a folder of its own.
type shell struct {
	dir string
	env []string
}

func newShell(t *testing.T, bin string) *shell {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: as root PostgreSQL runs as another user, who must get in, and its name is too long
	// for a socket.
	dir, err := os.MkdirTemp("", "sluice-docs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"queries", "testdata"} {
		if err := os.Symlink(filepath.Join(root, folder), filepath.Join(dir, folder)); err != nil {
			t.Fatal(err)
		}
	}
	kafka := kafkatest.Fake(t)
	return &shell{dir: dir, env: append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "SLUICE_STATE_DIR="+filepath.Join(dir, "state"), "KAFKA="+kafka.Addrs[0],
		"SLUICE_POSTGRES=", "HOME="+dir, "PSQLRC=/dev/null", "PAGER=cat", "TZ=UTC", "LC_ALL=C.UTF-8")}
}

// run returns what a command prints. A status other than 0 becomes a last line.
func (s *shell) run(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	text := string(out)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if err != nil {
		text += "(" + err.Error() + ")\n"
	}
	return tidy(text)
}

// live are the lines that a terminal shows and erases; elsewhere they come once a second.
var live = regexp.MustCompile(`(?m)^(\s*\d+%  .*rows/s.*|[\d,]+ rows  .*rows/s.*|reading again .*rows/s)\n`)

// tidy drops live lines and space at the ends of lines.
func tidy(text string) string {
	text = live.ReplaceAllString(text, "")
	return regexp.MustCompile(`(?m)[ \t]+$`).ReplaceAllString(text, "")
}

// runDocument returns the document with what its commands print now.
func runDocument(t *testing.T, text string, s *shell) string {
	t.Helper()
	var out, command strings.Builder
	inBlock := false
	flush := func() {
		if command.Len() > 0 {
			out.WriteString(s.run(t, command.String()))
			command.Reset()
		}
	}
	for line := range strings.Lines(text) {
		trimmed := strings.TrimRight(line, "\n")
		switch {
		case trimmed == "```console":
			inBlock = true
			out.WriteString(line)
		case inBlock && trimmed == "```":
			flush()
			inBlock = false
			out.WriteString(line)
		case !inBlock:
			out.WriteString(line)
		case strings.HasPrefix(line, "$ "):
			flush()
			command.WriteString(line[2:])
			out.WriteString(line)
		case (strings.HasPrefix(line, "> ") || trimmed == ">") && command.Len() > 0:
			command.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, ">"), " "))
			out.WriteString(line)
		}
	}
	return out.String()
}

var timings = regexp.MustCompile(`[\d.,]+ ?[kM]?( rows/s|ns|µs|ms|s)\b|20[2-9]\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d[\d.]*(Z|[+-]\d\d(:?\d\d)?)?`)

// sizes end the lines of `log ls`: records hold instants, whose text has as many digits as they need.
var sizes = regexp.MustCompile(`(?m)^(\d{16}\.(?:log|snap)\t.*\t)\d+$`)

// proven says how many batches there were: rows that are posted, or fetched, may come before the first or after it.
var proven = regexp.MustCompile(`(proven up to batch )\d+`)

// steady replaces what differs from run to run.
func steady(text string) string {
	text = proven.ReplaceAllString(text, "${1}#")
	return sizes.ReplaceAllString(timings.ReplaceAllString(text, "#"), "${1}#")
}
