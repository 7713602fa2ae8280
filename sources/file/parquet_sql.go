package file

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// literal writes a string as a SQL literal.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// fileLiteral is the path of one file for DuckDB. What would make it a glob is put in brackets.
func fileLiteral(path string) string {
	return literal(strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]").Replace(path))
}

func parquetTable(path string) string {
	return "read_parquet(" + fileLiteral(path) + ", file_row_number = true)"
}

// parquetSQL selects the declared columns of a file's rows from a row number on, in order, and then two
// texts: why a row cannot be cast, NULL if it can, and that row.
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
	at := make([]int, len(s.opt.Columns))
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
