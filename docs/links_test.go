package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	// file is a path in backquotes that can only be a file of the repository.
	file = regexp.MustCompile("`((?:[a-z_]+/)+[A-Za-z_.]+\\.(?:go|sh|sql|md|py))`")
)

// What the documents point at is there: a renamed file is noticed here.
func TestLinks(t *testing.T) {
	documents, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(documents, "../README.md", "../CONTRIBUTING.md", "../CHANGELOG.md", "../testdata/README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
		}
		for _, m := range file.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(name, "checkpoint-log") { // names the files of a log directory
				continue
			}
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
	}
}
