package postgrescdc

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
)

// A rowDecoder turns records into the rows of one source.
type rowDecoder struct {
	t       *Table
	builder *decode.Builder
	text    decode.PostgresText
	bytes   int64
	// latest describes the table as it was last, nil if that is not known.
	latest *relation
	// known is the document that table and columns are of.
	known   *document
	table   int      // its index there, -1 if it is not in it
	columns []origin // by declared column; not of METADATA
	row     [][]byte
	old     [][]byte
	now     [][]byte
}

func newRowDecoder(t *Table, latest *document) *rowDecoder {
	d := &rowDecoder{t: t, builder: decode.NewChangeBuilder(t.Columns, t.Key)}
	if at := latest.find(t); at >= 0 {
		d.latest = &latest.Tables[at]
	}
	return d
}

// describe looks up where the declared columns are.
func (d *rowDecoder) describe(doc *document) error {
	if d.known == doc {
		return nil
	}
	d.known = doc
	d.table = doc.find(d.t)
	d.columns = d.columns[:0]
	if d.table < 0 {
		return nil
	}
	r := &doc.Tables[d.table]
	for i, c := range d.t.Columns {
		var o origin
		if d.t.Metadata[i] == "" {
			if o = d.origin(r, c.Name); !o.known {
				return unknownPast(c.Name, r)
			}
		}
		d.columns = append(d.columns, o)
	}
	return nil
}

func (d *rowDecoder) origin(was *relation, name string) origin {
	if d.latest != nil {
		if at := d.latest.find(name); at >= 0 {
			return d.latest.Columns[at].origin(was)
		}
	}
	at := was.find(name) // it is gone by now
	return origin{at: at, known: at >= 0}
}

func unknownPast(column string, r *relation) error {
	return fmt.Errorf("column %s: rows of table %s that were captured before it was added, or changed, do not say what they have in it\nHint: drop the pipeline and start it again, which copies the table anew", column, r)
}

// rows is how many rows a record will be, 0 if it is another table's.
func (d *rowDecoder) rows(doc *document, rec *record) (int64, error) {
	if !rec.isRow() {
		return 0, nil
	}
	if rec.doc != nil {
		doc = rec.doc
	}
	if err := d.describe(doc); err != nil || rec.table != d.table {
		return 0, err
	}
	if rec.kind == kindUpdate && (d.t.Key == nil || rec.oldKind != oldNone) {
		return 2, nil // at most
	}
	return 1, nil
}

// add decodes the rows of what happened together.
func (d *rowDecoder) add(doc *document, recs []record, lsn LSN) error {
	var begin *record
	for i := range recs {
		rec := &recs[i]
		if rec.kind == kindBegin {
			begin = rec
		}
		n, err := d.rows(doc, rec)
		if err == nil && n > 0 {
			d.bytes += int64(rec.bytes)
			err = d.change(rec, begin, lsn)
		}
		if err != nil {
			return fmt.Errorf("table %s as of LSN %s: %w", d.t.Table, lsn, err)
		}
	}
	return nil
}

// change decodes one record.
func (d *rowDecoder) change(rec, begin *record, lsn LSN) (err error) {
	n := len(d.known.Tables[d.table].Columns)
	if rec.kind != kindDelete {
		if d.now, err = cells(d.now, rec.new, n); err != nil {
			return err
		}
	}
	if rec.kind == kindUpdate || rec.kind == kindDelete {
		if rec.oldKind != oldNone {
			if d.old, err = cells(d.old, rec.old, n); err != nil {
				return err
			}
		}
		if rec.oldKind != oldRow && d.t.Key == nil {
			return fmt.Errorf("the log has changes by key, and no PRIMARY KEY is declared\nHint: put the SQL file back as it was, or drop the pipeline")
		}
	}
	if rec.kind == kindDelete || rec.kind == kindUpdate && rec.oldKind != oldNone && (d.t.Key == nil || d.moved()) {
		if err := d.put(d.old, -1, rec.pos, begin, lsn); err != nil {
			return err
		}
	}
	switch {
	case rec.kind == kindDelete:
		return nil
	case rec.kind == kindUpdate && d.t.Key != nil:
		return d.put(d.now, 1, rec.pos+1, begin, lsn)
	}
	return d.put(d.now, 1, rec.pos, begin, lsn)
}

// moved says that an update changed the declared key.
func (d *rowDecoder) moved() bool {
	return slices.ContainsFunc(d.t.Key, func(k int) bool {
		return string(d.columns[k].of(d.old)) != string(d.columns[k].of(d.now))
	})
}

func (d *rowDecoder) put(row [][]byte, weight, pos int64, begin *record, lsn LSN) error {
	d.row = d.row[:0]
	for i, o := range d.columns {
		if d.t.Metadata[i] == "" {
			d.row = append(d.row, o.of(row))
			continue
		}
		d.row = append(d.row, d.metadata(i, begin, lsn))
	}
	if why := d.text.Add(d.builder, d.row, weight, pos); why != "" {
		return fmt.Errorf("%s\nHint: declare the column otherwise, as VARCHAR if need be, and start the pipeline anew", why)
	}
	return nil
}

// metadata is the text of a METADATA column.
func (d *rowDecoder) metadata(i int, begin *record, lsn LSN) []byte {
	switch d.t.Metadata[i] {
	case MetaTable:
		return []byte(d.known.Tables[d.table].String())
	case MetaCommit:
		if begin == nil {
			return nil // of the snapshot
		}
		return time.UnixMicro(begin.at).UTC().AppendFormat(nil, "2006-01-02 15:04:05.999999")
	case MetaLSN:
		if begin != nil {
			lsn = begin.lsn
		}
		if d.t.Columns[i].Type.Kind == vector.Varchar {
			return []byte(lsn.String())
		}
		return strconv.AppendUint(nil, uint64(lsn), 10)
	}
	panic("postgrescdc: METADATA " + d.t.Metadata[i] + " was checked and is not known")
}

// finish returns what was decoded.
func (d *rowDecoder) finish() *microbatch.Rows {
	r := &microbatch.Rows{RemainingBytes: -1, RemainingRows: -1, Count: d.builder.Rows(), Bytes: d.bytes}
	r.Chunks = d.builder.Finish()
	return r
}

// find returns the index of a source's table.
func (d *document) find(t *Table) int {
	return slices.IndexFunc(d.Tables, func(r relation) bool { return slices.Contains(r.Sources, t.Name) })
}
