package file

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sources/decode"
)

// literal writes a string as a SQL literal.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// fileLiteral is the path of one file for DuckDB. What would make it a glob is put in brackets.
func fileLiteral(path string) string {
	return literal(strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]").Replace(path))
}

// parquetTable reads one file. Columns that its path gives (name=value/) are texts, to be cast as declared.
// Why: DuckDB would guess their types, and make the number 7 of '007'.
func parquetTable(path string) string {
	return "read_parquet(" + fileLiteral(path) + ", file_row_number = true, hive_types_autocast = false)"
}

// parquetSQL selects the declared columns of a file's rows from a row number on, in order, the weight if rows
// have one, and then two texts: why a row cannot be cast, NULL if it can, and that row.
func (s *Source) parquetSQL(ctx context.Context, path string, from int64) (string, error) {
	have, err := s.pq.meta.Describe(ctx, "SELECT * FROM "+parquetTable(s.opt.abs(path)))
	if err != nil {
		return "", fmt.Errorf("source %s: read %s: %w", s.opt.Name, path, err)
	}
	at, err := s.matchParquet(path, have)
	if err != nil {
		return "", err
	}
	var items, reasons []string
	for i, want := range s.opt.Columns {
		col, typ := vector.QuoteIdent(have[at[i]].Name), want.Type.String()
		if have[at[i]].Type.Equal(want.Type) {
			items = append(items, col)
			continue
		}
		items = append(items, "TRY_CAST("+col+" AS "+typ+")")
		reasons = append(reasons, fmt.Sprintf("CASE WHEN %s IS NOT NULL AND TRY_CAST(%s AS %s) IS NULL THEN %s || left(%s::VARCHAR, 100) || %s END",
			col, col, typ, literal("column "+want.Name+": '"), col, literal("' is not a "+typ)))
	}
	for _, k := range s.opt.Key {
		reasons = append(reasons, fmt.Sprintf("CASE WHEN %s IS NULL THEN %s END", vector.QuoteIdent(have[at[k]].Name),
			literal("column "+s.opt.Columns[k].Name+": a column of the PRIMARY KEY is NULL")))
	}
	switch {
	case s.opt.Format == "changelog":
		f := have[at[len(s.opt.Columns)]]
		if !isInteger(f.Type.Kind) {
			return "", fmt.Errorf("source %s: %s: column %s is %s, not an integer", s.opt.Name, path, decode.WeightField, f.Type)
		}
		col := vector.QuoteIdent(f.Name)
		items = append(items, "TRY_CAST("+col+" AS BIGINT)")
		reasons = append(reasons, fmt.Sprintf("CASE WHEN coalesce(%s, 0) = 0 OR %s NOT BETWEEN -%d AND %d THEN %s || coalesce(%s::VARCHAR, 'NULL') || %s END",
			col, col, decode.MaxWeight, decode.MaxWeight, literal(decode.WeightField+" is "), col, literal(", not an integer other than 0, at most 2147483647 either way")))
	case s.opt.Changes != planner.AppendOnly:
		items = append(items, "1::BIGINT")
	}
	why, text := "NULL::VARCHAR", literal("")
	if len(reasons) > 0 {
		why = "coalesce(" + strings.Join(reasons, ", ") + ")"
		names := make([]string, len(at))
		for i, j := range at {
			names[i] = vector.QuoteIdent(have[j].Name)
		}
		text = "CASE WHEN " + why + " IS NOT NULL THEN left({" + fieldsOf(names) + "}::VARCHAR, 65536) END"
	} else {
		text += "::VARCHAR"
	}
	return "SELECT " + strings.Join(items, ", ") + ", " + why + ", " + text +
		" FROM " + parquetTable(s.opt.abs(path)) + " WHERE file_row_number >= " + strconv.FormatInt(from, 10), nil
}

func isInteger(k vector.Kind) bool {
	switch k {
	case vector.Int8, vector.Int16, vector.Int32, vector.Int64, vector.Int128,
		vector.UInt8, vector.UInt16, vector.UInt32, vector.UInt64, vector.UInt128:
		return true
	}
	return false
}

func fieldsOf(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n + ": " + n
	}
	return strings.Join(out, ", ")
}

// matchParquet finds the declared columns in a file, as match does in a CSV header.
func (s *Source) matchParquet(path string, have []vector.Field) ([]int, error) {
	names := make([]string, 0, len(have))
	for _, f := range have {
		if f.Name != "file_row_number" {
			names = append(names, f.Name)
		}
	}
	columns, err := s.match(path, names)
	if err != nil {
		return nil, err
	}
	at := make([]int, len(s.fields))
	for field, c := range columns {
		if c >= 0 {
			at[c] = field
		}
	}
	return at, nil
}

// tryParquet checks the columns of the first file that is there, so that a wrong column list is refused
// before anything runs.
func (s *Source) tryParquet() error {
	if err := s.refresh(); err != nil {
		return err
	}
	list := s.list
	s.list = nil
	if len(list.files) == 0 {
		return nil
	}
	path := list.files[0].path
	if _, _, err := identify(s.opt.abs(path)); err != nil {
		return nil // Poll waits for it, or says what is wrong
	}
	if _, err := s.parquet(); err != nil {
		return err
	}
	_, err := s.parquetSQL(context.Background(), path, 0)
	return err
}
