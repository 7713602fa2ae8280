package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
)

// TestTypes reads a value of each Postgres type into each DuckDB type that it is declared as.
func TestTypes(t *testing.T) {
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TYPE mood AS ENUM ('sad', 'happy')", "CREATE DOMAIN small AS int CHECK (VALUE < 100)")
	decimal := vector.Type{Kind: vector.Decimal, Width: 10, Scale: 2}
	for _, tc := range []struct {
		value string // SQL
		typ   vector.Type
		want  string // text, or what the error says
	}{
		{"true", vector.Of(vector.Bool), "true"},
		{"7::int2", vector.Of(vector.Int64), "7"},
		{"7::int8", vector.Of(vector.Int32), "7"},
		{"3000000000::int8", vector.Of(vector.Int32), "out of range"},
		{"-1::int4", vector.Of(vector.UInt32), "error"},
		{"7::small", vector.Of(vector.Int32), "7"},
		{"7::int4", vector.Of(vector.Float64), "7.0"},
		{"1.5::float4", vector.Of(vector.Float64), "1.5"},
		{"1.5::float8", vector.Of(vector.Float32), "is declared as FLOAT and is double precision there"},
		{"'NaN'::float8", vector.Of(vector.Float64), "nan"},
		{"1.25::numeric", decimal, "1.25"},
		{"12::int4", decimal, "12.00"},
		{"1.255::numeric", decimal, "error"},
		{"123456789012::numeric", decimal, "numeric field overflow"},
		{"1.5::numeric", vector.Of(vector.Int64), "is declared as BIGINT and is numeric there"},
		{"'x'::varchar(3)", vector.Of(vector.Varchar), "x"},
		{"'ab'::char(4)", vector.Of(vector.Varchar), "ab"},
		{"'happy'::mood", vector.Of(vector.Varchar), "happy"},
		{"'10.0.0.1'::inet", vector.Of(vector.Varchar), "10.0.0.1/32"},
		{"'{\"a\": 1}'::json", vector.Of(vector.Varchar), `{"a": 1}`},
		{"date '2024-02-29'", vector.Of(vector.Date), "2024-02-29"},
		{"date '2024-02-29'", vector.Of(vector.Timestamp), "2024-02-29 00:00:00"},
		{"timestamp '2024-02-29 01:02:03.000004'", vector.Of(vector.Timestamp), "2024-02-29 01:02:03.000004"},
		{"timestamptz '2024-02-29 01:02:03+02'", vector.Of(vector.TimestampTZ), "2024-02-28 23:02:03+00"},
		{"timestamptz '2024-02-29 01:02:03+02'", vector.Of(vector.Timestamp), "declare it as TIMESTAMPTZ"},
		{"interval '1 month 2 days 03:04:05'", vector.Of(vector.Interval), "1 month 2 days 03:04:05"},
		{"'\\x00ff'::bytea", vector.Of(vector.Blob), `\x00\xFF`},
		{"'6b5d8c2e-0000-0000-0000-000000000001'::uuid", vector.Of(vector.UUID), "6b5d8c2e-0000-0000-0000-000000000001"},
		{"ARRAY[1, NULL, 3]", vector.ListOf(vector.Of(vector.Int64)), "[1,null,3]"},
		{"NULL::int", vector.Of(vector.Int32), "NULL"},
	} {
		t.Run(tc.value+" as "+tc.typ.String(), func(t *testing.T) {
			opt := options(url)
			opt.Columns, opt.Query = []vector.Field{{Name: "v", Type: tc.typ}}, "SELECT "+tc.value+" AS v"
			l, err := New(context.Background(), opt)
			if err != nil {
				if !strings.Contains(err.Error(), tc.want) && tc.want != "error" {
					t.Errorf("error %v, want %q", err, tc.want)
				}
				return
			}
			defer l.Close()
			r, err := l.Poll(context.Background(), nil, microbatch.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			got := "NULL"
			if v := &r.Chunks[0].Cols[0]; !v.IsNull(0) {
				got = vector.Text(v, 0)
			}
			if got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}
