package file

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
)

// The files in testdata/debezium, read as sources of each kind declare them.
func TestDebeziumFiles(t *testing.T) {
	const accounts = `id INTEGER, email VARCHAR, balance DECIMAL(12,2), score DECIMAL(8,2), born DATE, created TIMESTAMP, seen TIMESTAMPTZ, wakes TIME, trial INTERVAL, ref UUID, prefs VARCHAR, plan ENUM('free', 'paid'), tags VARCHAR[], avatar BLOB, active BOOLEAN, ratio FLOAT`
	const products = `id INTEGER, name VARCHAR, weight DOUBLE, price DECIMAL(10,2), added TIMESTAMP, made DATE, opens INTERVAL, kind VARCHAR, flags VARCHAR, year INTEGER, in_stock BOOLEAN`
	const (
		ada   = `1 | ada@example.org | %s | 1.23 | 1979-12-11 | 2026-01-01 10:00:00.123456 | 2026-01-01 10:00:00.5+00 | 06:30:00 | 336:00:00 | a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11 | {"dark": true} | %s | ["a","b, c"] | \x89PNG\x0D\x0A | true | 0.5`
		bob   = `%d | bob@example.org | -0.01 | NULL | 1969-12-31 | 2026-01-01 10:00:00.123456 | NULL | NULL | NULL | NULL | NULL | NULL | %s | NULL | NULL | NULL`
		gone  = `%d | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL`
		empty = `3 |  | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL`
		toy   = `%d | scooter | %s | 12.50 | 2026-01-01 10:00:00 | 2026-01-01 | 09:00:00 | toy | a,b | 2026 | %t`
		part  = `102 | car battery | 8.1 | 39.06 | 2026-01-01 10:00:00 | 2026-01-01 | %s | part |  | 2026 | false`
	)
	f := fmt.Sprintf
	for _, tc := range []struct {
		file, columns string
		opt           Options
		rows, bad     []string
	}{
		{"postgres", accounts, Options{}, []string{
			"+1 " + f(ada, "123.45", "free"), "+1 " + f(bob, 2, "[]"), "-1 " + f(ada, "123.45", "free"), "+1 " + f(ada, "0.00", "paid"),
			"-1 " + f(bob, 2, "[]"), "+1 " + f(bob, 2, `["late"]`), "-1 " + f(bob, 2, `["late"]`), "+1 " + f(bob, 3, "[]"),
			"-1 " + empty, // there is no such row: the pipeline says so
		}, []string{"column prefs: the event does not have its value", "a truncation (op t) cannot be applied"}},
		{"postgres", accounts, Options{Key: []int{0}}, []string{
			"+1 " + f(ada, "123.45", "free"), "+1 " + f(bob, 2, "[]"), "+1 " + f(ada, "0.00", "paid"),
			"+1 " + f(bob, 2, `["late"]`), "-1 " + f(gone, 2), "+1 " + f(bob, 3, "[]"), "-1 " + f(gone, 3),
		}, []string{"column prefs: the event does not have its value", "a truncation (op t) cannot be applied"}},
		{"mysql", products, Options{TimestampUnit: "ms"}, []string{
			"+1 " + f(toy, 101, "3.14", true), "+1 " + f(part, "-01:00:00"), "-1 " + f(toy, 101, "3.14", true), "+1 " + f(toy, 101, "3.2", false),
			"-1 " + f(toy, 101, "3.14", true), "+1 " + f(toy, 103, "3.14", true), "-1 " + f(part, "-01:00:00"), "+1 " + f(part, "00:00:00"), "-1 " + f(toy, 103, "3.14", true),
		}, nil},
	} {
		t.Run(fmt.Sprint(tc.file, tc.opt.Key), func(t *testing.T) {
			o := tc.opt
			o.Path, o.BaseDir, o.Format, o.Mode, o.Columns = tc.file+".ndjson", "testdata/debezium", "debezium", "bounded", declared(t, tc.columns)
			s := open(t, o)
			rows, err := s.Poll(context.Background(), nil, microbatch.Limits{})
			must(t, err)
			var got, bad []string
			for _, c := range rows.Chunks {
				for i := range c.N {
					var cells []string
					for j := range o.Columns {
						cells = append(cells, vector.Text(&c.Cols[j], i))
					}
					got = append(got, f("%+d %s", c.Cols[len(o.Columns)].I64(i), strings.Join(cells, " | ")))
				}
			}
			if diff := cmp.Diff(tc.rows, got); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			for _, b := range rows.Bad {
				bad = append(bad, b.Reason)
			}
			if len(bad) != len(tc.bad) {
				t.Fatalf("reasons %q, want %q", bad, tc.bad)
			}
			for i, want := range tc.bad {
				if !strings.HasPrefix(bad[i], want) {
					t.Errorf("reason %q, want %q", bad[i], want)
				}
			}
		})
	}
}

// declared returns the columns of a list as in CREATE TABLE.
func declared(t *testing.T, columns string) []vector.Field {
	t.Helper()
	db, err := duck.Open(duck.Options{})
	must(t, err)
	defer db.Close()
	conn, err := db.Connect()
	must(t, err)
	defer conn.Close()
	must(t, conn.Exec(context.Background(), "CREATE TABLE t ("+columns+")"))
	fields, err := conn.Describe(context.Background(), "SELECT * FROM t")
	must(t, err)
	return fields
}
