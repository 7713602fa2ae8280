package checkpointstore

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/s3test"
)

// Records are replaced and removed, do not get mixed up with others of similar names or with copies, and a copy's
// removal leaves them alone.
func TestRecords(t *testing.T) {
	s3test.SetEnv(t)
	s := s3test.New(t)
	l := at(t, s)
	r, err := NewRecords(l)
	must(t, err)
	ctx := context.Background()
	if doc, err := r.Get(ctx, "p"); doc != nil || err != nil {
		t.Errorf("before the first: %q, %v", doc, err)
	}
	for name, text := range map[string]string{"p": "one", "p2": "other", "records": "odd"} {
		must(t, r.Put(ctx, name, []byte(text)))
	}
	must(t, r.Put(ctx, "p", []byte("two")))
	s.Put(l.root("records")+"manifest/0000000000000001-ab", []byte("x"))
	names, err := r.Names(ctx)
	must(t, err)
	if !slices.Equal(names, []string{"p", "p2", "records"}) {
		t.Errorf("names %q", names)
	}
	if doc, err := r.Get(ctx, "p"); string(doc) != "two" || err != nil {
		t.Errorf("replaced: %q, %v", doc, err)
	}
	_, err = Remove(ctx, l, "records")
	must(t, err)
	must(t, r.Remove(ctx, "p"))
	must(t, r.Remove(ctx, "p"))
	if names, err = r.Names(ctx); !slices.Equal(names, []string{"p2", "records"}) || err != nil {
		t.Errorf("left are %q, %v", names, err)
	}
	s.Fault(s3test.Always(s3test.SlowDown))
	if _, err := r.Get(ctx, "p2"); err == nil || !strings.Contains(err.Error(), "SlowDown") {
		t.Errorf("while the bucket fails: %v", err)
	}
}
