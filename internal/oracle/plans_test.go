package oracle_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sluice-sql/sluice/planner"
)

var update = flag.Bool("update", false, "rewrite planner/testdata")

// fingerprintLine changes with every change of the generated SQL, which the golden shows anyway.
var fingerprintLine = regexp.MustCompile(`\nfingerprint .*\n`)

// TestPlans plans the pipeline of every planner/testdata/*.txtar and compares what explain prints, or the
// error, with the file. It stands here because planning needs DuckDB; -update rewrites the files.
func TestPlans(t *testing.T) {
	paths, err := filepath.Glob("../../planner/testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { golden(t, path) })
	}
}

func golden(t *testing.T, path string) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := txtar.File{Name: "plan"}
	var text strings.Builder
	p, err := tryPlan(string(archive.Files[0].Data))
	if err != nil {
		got.Name = "error"
		text.WriteString(err.Error() + "\n")
	} else if err := planner.WriteExplain(&text, p); err != nil {
		t.Fatal(err)
	}
	got.Data = []byte(fingerprintLine.ReplaceAllString(text.String(), "\n"))
	if *update {
		archive.Files = []txtar.File{archive.Files[0], got}
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(archive.Files) != 2 {
		t.Fatalf("%s has no plan and no error; run go test ./internal/oracle -run TestPlans -update", path)
	}
	if diff := cmp.Diff(archive.Files[1].Name+"\n"+string(archive.Files[1].Data), got.Name+"\n"+string(got.Data)); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", filepath.Base(path), diff)
	}
}
