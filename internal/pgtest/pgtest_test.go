package pgtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { Main(m) }

func TestDatabasesAreSeparate(t *testing.T) {
	a, b := URL(t), URL(t)
	Exec(t, a, "CREATE TABLE x (i int, s text)", "INSERT INTO x VALUES (1, NULL)")
	if diff := cmp.Diff([]string{"1|∅"}, Rows(t, a, "SELECT * FROM x")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"∅"}, Rows(t, b, "SELECT to_regclass('x')")); diff != "" {
		t.Error(diff)
	}
}

func TestKillEmptiesUnlogged(t *testing.T) {
	s := New(t)
	url := s.Database(t)
	Exec(t, url, "CREATE UNLOGGED TABLE u AS SELECT 1 AS i", "CREATE TABLE l AS SELECT 1 AS i")
	s.Stop(t)
	s.Start(t)
	if diff := cmp.Diff([]string{"1|1"}, Rows(t, url, "SELECT (SELECT count(*) FROM u), (SELECT count(*) FROM l)")); diff != "" {
		t.Error("after a clean restart:", diff)
	}
	s.Kill(t)
	s.Start(t)
	if diff := cmp.Diff([]string{"0|1"}, Rows(t, url, "SELECT (SELECT count(*) FROM u), (SELECT count(*) FROM l)")); diff != "" {
		t.Error("after a crash:", diff)
	}
}

func TestProxy(t *testing.T) {
	url := URL(t)
	Exec(t, url, "CREATE TABLE x (name text)")
	for _, tt := range []struct {
		name string
		cut  Cut
		want string
	}{
		{"before", CutBefore, "0"},
		{"after", CutAfter, "1"},
		{"hang", CutHang, "0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := NewProxy(t, url)
			conn, err := pgx.Connect(t.Context(), p.URL())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			for _, sql := range []string{"BEGIN", "INSERT INTO x VALUES ('" + tt.name + "')"} {
				if _, err := conn.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			p.Arm("commit", tt.cut)
			if _, err := conn.Exec(t.Context(), "COMMIT"); err == nil {
				t.Error("the cut commit returned no error")
			}
			if diff := cmp.Diff([]string{tt.want}, Rows(t, url, "SELECT count(*) FROM x WHERE name = '"+tt.name+"'")); diff != "" {
				t.Error(diff)
			}
			if p.Fired() != 1 {
				t.Errorf("fired %d times", p.Fired())
			}
		})
	}
}
