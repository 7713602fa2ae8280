package server

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

const docPath = "../docs/api.md"

// TestDocs keeps docs/api.md true: every request, code, state and field is in it. With UPDATE_DOCS=1 the table
// of codes is written anew.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	const heading = "| code | HTTP | |\n|---|---|---|\n"
	text, _, ok := strings.Cut(string(b), heading)
	if !ok {
		t.Fatal("docs/api.md has no table of codes")
	}
	table := heading
	for _, c := range codes {
		table += fmt.Sprintf("| `%s` | %d | %s |\n", c.code, httpStatus(c.code), c.doc)
	}
	if text+table != string(b) {
		if os.Getenv("UPDATE_DOCS") == "" {
			t.Error("the table of codes is out of date: run this test with UPDATE_DOCS=1")
		} else if err := os.WriteFile(docPath, []byte(text+table), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{string(WantRunning), string(WantStopped), string(WantDropped)}
	for _, s := range []State{Starting, Running, Restarting, Stopping, Stopped, Finished, Failed, Dropping, Replacing, Standby} {
		want = append(want, "| `"+string(s)+"` |")
	}
	for _, r := range new(Server).routes() {
		want = append(want, "`"+r.pattern)
	}
	for _, v := range []any{Status{}, Description{}, Spec{}, Options{}, Version{}, Error{}, SQLError{}, StopRequest{}, Dropped{}, Replacement{}, RebuildProgress{}} {
		for i := range reflect.TypeOf(v).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ",")
			want = append(want, name)
		}
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("docs/api.md does not mention %s", w)
		}
	}
}
