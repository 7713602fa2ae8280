package queries_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/queries"
)

// full names the views that may be recomputed in full; every other one must run incrementally, so that a
// rule that stops matching is noticed here and not by a slow pipeline.
var full = map[string]bool{
	"full_recompute.chains": true,
	// Why: it asks for what the planner's printer cannot say yet, a list(DISTINCT … ORDER BY) beside other
	// ordered aggregates.
	"aggregate_ordered.customers": true,
}

func TestEveryFilePlans(t *testing.T) {
	for _, name := range queries.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for view, tree := range explain(t, name) {
				got := strings.Contains(tree, "\n  recomputed in full every batch")
				if want := full[strings.TrimSuffix(name, ".sql")+"."+view]; got != want {
					t.Errorf("view %s recomputed in full: %t, want %t\n%s", view, got, want, tree)
				}
			}
		})
	}
}

// All of Nexmark is there, and the class that a query's header and the table in docs/nexmark.md give is the
// planner's; TestEveryFilePlans holds it to full.
func TestNexmarkSaysItsClass(t *testing.T) {
	table, err := os.ReadFile("../docs/nexmark.md")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 23 {
		name := fmt.Sprintf("q%d", n)
		text, err := queries.Files.ReadFile("nexmark/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		class := "incremental"
		if full["nexmark/"+name+"."+name] {
			class = "recomputed in full"
		}
		if !strings.Contains(string(text), "\n-- Class: "+class) {
			t.Errorf("the header of %s does not say that it is %s", name, class)
		}
		row := regexp.MustCompile("(?m)^\\| `" + name + "` \\|.*\\| " + class + " \\|")
		if !row.Match(table) {
			t.Errorf("docs/nexmark.md does not say that %s is %s", name, class)
		}
	}
}

// explain plans a file and returns what explain prints about each view.
func explain(t *testing.T, name string) map[string]string {
	t.Helper()
	text, err := queries.Files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	file, err := ddl.Parse(name, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	db, err := duck.Open(duck.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	plan, err := planner.Plan(t.Context(), file, conn)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	planner.WriteExplain(&out, plan)
	trees, _, _ := strings.Cut(out.String(), "\nstate\n")
	views := map[string]string{}
	for _, tree := range strings.Split(trees, "view ")[1:] {
		view, _, _ := strings.Cut(tree, "\n")
		views[view] = tree
	}
	if len(views) == 0 {
		t.Fatalf("no view in what explain says:\n%s", out.String())
	}
	return views
}

// Every path that a query reads is in the repository, so that each file runs as it stands.
func TestPathsExist(t *testing.T) {
	for _, name := range queries.Names() {
		text, _ := queries.Files.ReadFile(name)
		file, err := ddl.Parse(name, text, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range file.Statements {
			source, ok := s.(*ddl.Source)
			if !ok {
				continue
			}
			path, ok := source.With.Get("path")
			if !ok {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), filepath.FromSlash(path))); err != nil {
				t.Errorf("%s: source %s: %v", name, source.Name.Name, err)
			}
		}
	}
}
