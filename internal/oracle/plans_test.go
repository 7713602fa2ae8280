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

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
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

// testMetadata are the keys of the golden files' connector 'test'; 'bare' has none.
var testMetadata = map[string][]planner.MetadataKey{"test": {
	{Key: "offset", Doc: "where the row is in its partition", Types: []vector.Type{vector.Of(vector.Int64)}},
	{Key: "topic", Doc: "the topic's name", Types: []vector.Type{vector.Of(vector.Varchar), vector.Of(vector.Blob)}, OfRow: true},
}}

// checkMetadata does what cmd/sluice does with its connectors' keys.
func checkMetadata(p *planner.Pipeline) error {
	var problems []error
	for _, s := range p.Sources {
		connector, _ := s.Decl.With.Get("connector")
		problems = append(problems, planner.CheckMetadata(p.File, s, connector, testMetadata[connector]))
	}
	return ddl.Join(problems...)
}

// TestReadMetadata: a constructor hears of the columns that its rows have, and which of them are metadata.
func TestReadMetadata(t *testing.T) {
	p := plan(t, "t.sql", `CREATE SOURCE s (k BIGINT, p TIMESTAMP METADATA FROM 'batch_time', o BIGINT METADATA FROM 'offset', v VARCHAR) WITH (connector = 'test');
CREATE MATERIALIZED VIEW v AS SELECT * FROM s;`)
	var names []string
	for _, c := range p.Sources[0].ReadColumns() {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"k", "o", "v"}, names); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"", "offset", ""}, p.Sources[0].ReadMetadata()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
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
	if err == nil {
		err = checkMetadata(p)
	}
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
