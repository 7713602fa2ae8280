package layers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sluice-sql/sluice/"

// layers go from the top down: a package may import packages of lower layers and of its own folder.
//
// Why: the engine can be read, and tested, from the bottom up, and no cycle of ideas can form.
var layers = [][]string{
	{"cmd", "bench"},
	{"server"},
	{"sources", "sinks"},
	{"microbatch", "internal/oracle"},
	{"savepoint", "checkpointstore"},
	{"planner", "checkpointlog"},
	{"internal", "queries"},
}

// within are the imports allowed beside the layers.
var within = map[string][]string{
	// Why: the oracle judges what the loop did, so it stands beside it and reads its types.
	"internal/oracle":            {"microbatch"},
	"internal/oracle/oracletest": {"microbatch"},
	// Why: how values of DuckDB and of Postgres correspond is one table, whichever way they go.
	"sources/postgres":    {"sinks/postgres"},
	"sources/postgrescdc": {"sinks/postgres"},
}

// confined names what only some packages may import, and why.
var confined = []struct {
	what, why string
	by        []string
}{
	{"C", "one place for all cgo keeps everything else testable in a second and free of C's memory rules",
		[]string{"internal/duck"}},
	{"github.com/duckdb/", "DuckDB's API and its traps stay behind internal/duck",
		[]string{"internal/duck"}},
	{"unsafe", "memory tricks belong where rows are laid out, and are measured to be needed there",
		[]string{"internal/duck", "internal/rowstore", "internal/vector", "sources/decode"}},
	{"github.com/xwb1989/sqlparser", "its tokenizer lexes statements; its MySQL grammar must not read queries",
		[]string{"planner/ddl"}},
	{"github.com/jackc/pgx/", "the engine knows sinks, not Postgres",
		[]string{"sinks/postgres", "internal/pgcluster", "internal/pgtest", "sources/postgres", "sources/postgrescdc", "cmd", "server", "bench", "internal/oracle"}},
	{"github.com/twmb/franz-go/", "the engine knows sources and sinks, not Kafka",
		[]string{"sources/kafka", "sources/decode", "sinks/kafka", "internal/kafkaclient", "internal/kafkatest", "internal/registrytest", "internal/schemaregistry", "cmd", "bench"}},
	{"github.com/minio/", "the log is a log on a disk; who copies it elsewhere, and over which network, is one package's business",
		[]string{"checkpointstore"}},
	{"github.com/johannesboyne/gofakes3", "it is a server for tests",
		[]string{"internal/s3test"}},
	{"github.com/sluice-sql/sluice/internal/kafkatest", "it is for tests, and says so by failing them",
		[]string{"internal/kafkatest/kafka", "bench"}},
	{"github.com/sluice-sql/sluice/internal/s3test", "it is for tests, and says so by failing them",
		nil},
	{"github.com/sluice-sql/sluice/internal/registrytest", "it is for tests, and says so by failing them",
		nil},
	{"github.com/sluice-sql/sluice/sinks/sinktest", "it is for tests, and says so by failing them",
		nil},
	{"github.com/sluice-sql/sluice/sources/sourcetest", "it is for tests, and says so by failing them",
		nil},
	{"github.com/spf13/", "flags are the command's business",
		[]string{"cmd"}},
	{"github.com/sluice-sql/sluice/internal/pgtest", "it is for tests, and says so by failing them",
		[]string{"bench"}},
}

// pure packages must not reach DuckDB, not even through others.
var pure = []struct{ pkg, why string }{
	{"planner", "the compiler is a function from SQL to SQL; it binds through an interface"},
	{"planner/change", "versions of a pipeline can be compared without a database"},
	{"planner/ddl", "statements can be read, and fuzzed, without a database"},
	{"checkpointlog", "a log must be readable by a program that has no engine in it"},
	{"internal/rowstore", "state is plain Go memory"},
	{"checkpointstore", "a copy of a log is made and restored without an engine"},
}

type pkg struct {
	ImportPath, Dir           string
	Imports, Deps, CgoFiles   []string
	TestImports, XTestImports []string
	Error                     *struct{ Err string }
}

func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module) }

func TestImports(t *testing.T) {
	pkgs := list(t)
	for _, p := range pkgs {
		for _, imported := range p.Imports {
			if name, ours := strings.CutPrefix(imported, module); ours && !mayImport(p.name(), name) {
				t.Errorf("%s imports %s\nimports go one way: cmd → server → sources, sinks → microbatch → planner, checkpointlog → internal", p.name(), name)
			}
			for _, c := range confined {
				if (imported == c.what || strings.HasSuffix(c.what, "/") && strings.HasPrefix(imported, c.what) || strings.HasPrefix(imported, c.what+"/")) &&
					!slices.ContainsFunc(c.by, func(by string) bool { return inside(p.name(), by) }) && imported != p.ImportPath {
					t.Errorf("%s imports %s, which is for %s only: %s", p.name(), imported, strings.Join(c.by, ", "), c.why)
				}
			}
		}
		for _, rule := range pure {
			if p.name() == rule.pkg && slices.Contains(p.Deps, module+"internal/duck") {
				t.Errorf("%s depends on internal/duck: %s", rule.pkg, rule.why)
			}
		}
	}
}

// The tokenizer of xwb1989/sqlparser, last released in 2018, stays in one file, so that it can be replaced.
func TestTokenizerInOneFile(t *testing.T) {
	root := moduleRoot(t)
	out, err := exec.Command("grep", "-rl", "--include=*.go", `"github.com/xwb1989/sqlparser"`,
		filepath.Join(root, "cmd"), filepath.Join(root, "planner"), filepath.Join(root, "microbatch"),
		filepath.Join(root, "sources"), filepath.Join(root, "sinks"), filepath.Join(root, "server")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != filepath.Join(root, "planner", "ddl", "lex.go") {
		t.Errorf("xwb1989/sqlparser is imported by\n%s\nwant planner/ddl/lex.go alone", got)
	}
}

// mayImport says whether the layers let a package import another.
func mayImport(from, to string) bool {
	if slices.Contains(within[from], to) {
		return true
	}
	a, b := layerOf(from), layerOf(to)
	if a == b {
		return folder(from) == folder(to)
	}
	return a < b
}

// layerOf returns the index of the layer with the longest name that a package is inside.
func layerOf(name string) int {
	best, layer := "", len(layers)
	for i, names := range layers {
		for _, n := range names {
			if inside(name, n) && len(n) > len(best) {
				best, layer = n, i
			}
		}
	}
	return layer
}

func folder(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}

func inside(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Imports,Deps,CgoFiles,Error", "./...")
	cmd.Dir = moduleRoot(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 10 {
		t.Fatalf("go list names %d packages only", len(pkgs))
	}
	return pkgs
}
