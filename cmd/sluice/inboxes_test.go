package main

import (
	"log/slog"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/sources/decode"
	httpsource "github.com/sluice-sql/sluice/sources/http"
	"github.com/sluice-sql/sluice/sources/intake"
)

// A source that the new version of a file no longer has takes no rows: nobody would read what it acknowledged.
func TestRemovedSourceTakesNoRows(t *testing.T) {
	n := newInboxes(slog.New(slog.DiscardHandler))
	defer n.Close()
	dir := stateDir(t.TempDir()).pipeline("p")
	attach := func(names ...string) {
		t.Helper()
		l := &loaded{spec: spec{Name: "p"}}
		for _, name := range names {
			messages := decode.MessageOptions{Format: "json", Fields: []vector.Field{{Name: "id", Type: vector.Of(vector.Int64)}}}
			l.posted = append(l.posted, postedSource{name: name, http: httpsource.Options{Name: name, Listen: "127.0.0.1:0", Rows: intake.SourceOptions{Name: name, Messages: messages}}})
		}
		if err := n.attach(l, dir, asOwner); err != nil {
			t.Fatal(err)
		}
	}
	attach("a", "b")
	attach("a")
	if n.inbox("p", "a") == nil || n.inbox("p", "b") != nil {
		t.Errorf("open are a: %v, b: %v", n.inbox("p", "a") != nil, n.inbox("p", "b") != nil)
	}
	attach() // the last one at its address
	if len(n.servers) != 0 {
		t.Errorf("%d addresses are still listened on", len(n.servers))
	}
	attach("b")
}
