package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/vector"
)

// parquet is the instance that writes Parquet files, and its scratch directory.
type parquet struct {
	db   *duck.DB
	conn *duck.Conn
	rows *duck.Input
	dir  string
	fill string // the statement
}

// parquetMemory bounds the writer; row groups are small beside it.
const parquetMemory = "1GiB"

func (s *Sink) openParquet() (_ *parquet, err error) {
	if s.parquet != nil {
		return s.parquet, nil
	}
	p := &parquet{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start the Parquet writer: %w", err), p.close())
		}
	}()
	if p.dir, err = os.MkdirTemp(s.o.TempDir, "parquet-*"); err != nil {
		return nil, err
	}
	if p.db, err = duck.Open(duck.Options{Locked: true, AllowedDirs: []string{p.dir}, MemoryLimit: parquetMemory}); err != nil {
		return nil, err
	}
	if p.conn, err = p.db.Connect(); err != nil {
		return nil, err
	}
	if p.rows, err = p.conn.RegisterInput("batch_rows", s.columns); err != nil {
		return nil, err
	}
	var columns []string
	for _, f := range s.columns {
		name := vector.QuoteIdent(f.Name)
		if stored := storedType(f.Type); !stored.Equal(f.Type) {
			columns = append(columns, "CAST("+name+" AS "+stored.String()+") AS "+name)
			continue
		}
		columns = append(columns, name)
	}
	codec := s.o.Layout.Compression
	if codec == "none" {
		codec = "uncompressed"
	}
	p.fill = fmt.Sprintf("COPY (SELECT %s FROM batch_rows()) TO '%s' (FORMAT parquet, COMPRESSION '%s')",
		strings.Join(columns, ", "), strings.ReplaceAll(p.file(), "'", "''"), codec)
	s.parquet = p
	return p, nil
}

func (p *parquet) file() string { return filepath.Join(p.dir, "part.parquet") }

// storedType is how a type is kept in a Parquet file, where DuckDB's own choice would lose something: HUGEINT
// would become DOUBLE, INTERVAL would lose its microseconds, TIMETZ its zone. Casting back gives the value.
func storedType(t vector.Type) vector.Type {
	switch t.Kind {
	case vector.Int128, vector.UInt128:
		return vector.Type{Kind: vector.Decimal, Width: 38}
	case vector.Interval, vector.TimeTZ, vector.TimeNS, vector.Enum:
		return vector.Of(vector.Varchar)
	case vector.List, vector.Array, vector.Map:
		elem := storedType(*t.Elem)
		t.Elem = &elem
	case vector.Struct:
		fields := make([]vector.Field, len(t.Fields))
		for i, f := range t.Fields {
			fields[i] = vector.Field{Name: f.Name, Type: storedType(f.Type)}
		}
		t.Fields = fields
	}
	return t
}

// encodeParquet has DuckDB write a scratch file and copies it.
func (s *Sink) encodeParquet(ctx context.Context, w io.Writer, part *part) error {
	p, err := s.openParquet()
	if err != nil {
		return err
	}
	p.rows.Set(part.chunks)
	defer p.rows.Set(nil)
	if err := p.conn.Exec(ctx, p.fill); err != nil {
		return fmt.Errorf("write Parquet: %w\nHint: cast the column in the view, to VARCHAR or DOUBLE: HUGEINT is written as DECIMAL(38,0)", err)
	}
	f, err := os.Open(p.file())
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}

func (p *parquet) close() error {
	var errs []error
	if p.conn != nil {
		errs = append(errs, p.conn.Close())
	}
	if p.db != nil {
		errs = append(errs, p.db.Close())
	}
	if p.dir != "" {
		errs = append(errs, os.RemoveAll(p.dir))
	}
	return errors.Join(errs...)
}
