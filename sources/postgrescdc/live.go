package postgrescdc

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// Two messages do not say all that happened: a TRUNCATE does not say which rows it deleted, and an update leaves
// out values that are stored out of line and did not change, unless the replica identity is FULL. Both are looked
// up in the log, which has every row; what is found is written to the log in their place, so that readers see
// inserts, updates and deletes of whole rows and nothing else.

// A live index says which rows a table has at the end of the log. It is built when it is first needed, by reading
// the log from its beginning.
type live struct {
	// rows has, by key, the position of the record with the row; by whole row, how often it is there.
	rows  map[string]int64
	table *relation // as it is at the end of the log
	key   []int     // the columns that rows are told apart by
	whole bool      // those are all of which rows of any age say what they have

	// was is what origins are of, and same says that its rows are as they are now.
	was     *relation
	origins []origin
	same    bool
}

// newLive begins an index.
func newLive(r *relation) *live {
	v := &live{rows: map[string]int64{}, table: r}
	for i, c := range r.Columns {
		if c.Identity || slices.Contains(r.Key, c.Name) {
			v.key = append(v.key, i)
		}
	}
	if v.whole = v.key == nil; !v.whole {
		return v
	}
	for i := range r.Columns {
		if r.Columns[i].isCertain() {
			v.key = append(v.key, i)
		}
	}
	return v
}

// liveRows looks rows up. It belongs to the goroutine that writes.
type liveRows struct {
	w      *writer
	read   *reader
	tables map[int]*live
	// since is where a table was last seen empty.
	since map[int]int64
	// recent are entries that rows were looked up in.
	recent map[int64]ingestlog.Entry
}

func newLiveRows(w *writer, read *reader) *liveRows {
	return &liveRows{w: w, read: read, tables: map[int]*live{}, since: map[int]int64{}, recent: map[int64]ingestlog.Entry{}}
}

// forget drops what is known of a table, or of all for -1.
func (l *liveRows) forget(table int) {
	if table < 0 {
		clear(l.tables)
		clear(l.since)
		return
	}
	delete(l.tables, table)
}

// index builds a table's index if there is none.
func (l *liveRows) index(table int) (*live, error) {
	if v := l.tables[table]; v != nil {
		return v, nil
	}
	if err := l.w.flush(); err != nil {
		return nil, err
	}
	from, end := l.since[table], int64(l.w.log.End())
	if first := int64(l.w.log.First()); from < first {
		return nil, fmt.Errorf("the rows of table %s cannot be looked up: the log begins at row %d, since older ones were deleted (retention): %w", &l.w.doc.Tables[table], first, microbatch.ErrRangeChanged)
	}
	r := l.w.doc.Tables[table] // a copy, since descriptions are replaced
	v := newLive(&r)
	b := &indexing{live: v, table: table, open: l.w.open >= 0}
	if err := l.read.scan(l.read.entries(from, end), from, end, 0, b); err != nil {
		return nil, err
	}
	l.tables[table] = v
	return v, nil
}

// indexing is the pass that builds an index.
type indexing struct {
	live  *live
	table int
	open  bool
}

// boundary implements span.
func (b *indexing) boundary(_ offsets, d *document, recs []record) (bool, error) {
	for i := range recs {
		if err := b.live.apply(d, &recs[i], b.table); err != nil {
			return false, err
		}
	}
	return true, nil
}

// unfinished is told what is there of the transaction at hand.
func (b *indexing) unfinished(d *document, recs []record) error {
	if !b.open {
		return nil
	}
	_, err := b.boundary(offsets{}, d, recs)
	return err
}

// apply takes one record over.
func (v *live) apply(d *document, rec *record, table int) error {
	if !rec.isRow() || rec.table != table {
		return nil
	}
	if rec.doc != nil {
		d = rec.doc
	}
	was := &d.Tables[table]
	if rec.oldKind != oldNone {
		key, err := v.keyOf(rec.old, was)
		if err != nil {
			return err
		}
		if !v.whole {
			delete(v.rows, key)
		} else if v.rows[key]--; v.rows[key] == 0 {
			delete(v.rows, key)
		}
	}
	if rec.kind == kindDelete {
		return nil
	}
	key, err := v.keyOf(rec.new, was)
	if err != nil {
		return err
	}
	if !v.whole {
		v.rows[key] = rec.pos
		return nil
	}
	if v.rows[key]++; v.rows[key] == 0 {
		delete(v.rows, key)
	}
	return nil
}

// keyOf returns what a row is told apart by, whatever description it is of.
func (v *live) keyOf(row []byte, was *relation) (string, error) {
	if v.was != was {
		v.was, v.origins = was, v.table.origins(was)
		v.same = v.whole && len(was.Columns) == len(v.key) && len(v.table.Columns) == len(v.key)
		for i, o := range v.origins {
			v.same = v.same && o.at == i
		}
	}
	if v.same {
		return string(row), nil
	}
	list, err := cells(nil, row, len(was.Columns))
	if err != nil {
		return "", err
	}
	var b []byte
	for _, k := range v.key {
		b = appendCell(b, v.origins[k].of(list))
	}
	return string(b), nil
}

// note keeps an index that there is up to date with a record that was written.
func (l *liveRows) note(rec *record) error {
	v := l.tables[rec.table]
	if v == nil {
		return nil
	}
	return v.apply(&l.w.doc, rec, rec.table)
}

// row returns the row that a key has, and where its values come from, by column. old is of the table as it is now.
func (l *liveRows) row(table int, old []byte) (list [][]byte, origins []origin, err error) {
	r := &l.w.doc.Tables[table]
	v, err := l.index(table)
	if err != nil {
		return nil, nil, err
	}
	key, err := v.keyOf(old, r)
	if err != nil {
		return nil, nil, err
	}
	pos, ok := v.rows[key]
	if !ok {
		return nil, nil, fmt.Errorf("the log has no row of that key")
	}
	if pos >= int64(l.w.log.End()) {
		if err := l.w.flush(); err != nil {
			return nil, nil, err
		}
	}
	rec, d, err := l.at(pos)
	if err != nil {
		return nil, nil, err
	}
	was := &d.Tables[table]
	list, err = cells(nil, rec.new, len(was.Columns))
	return list, r.origins(was), err
}

// maxRecent is how many entries are kept at hand, of up to flushBytes mostly.
const maxRecent = 64

// at reads one record.
func (l *liveRows) at(pos int64) (rec record, d *document, err error) {
	var found ingestlog.Entry
	for _, e := range l.recent {
		if int64(e.First) <= pos && pos < int64(e.End()) {
			found = e
		}
	}
	if found.Rows == 0 {
		for e, err := range l.read.plain(pos, pos+1) {
			if err != nil {
				return rec, nil, l.read.failed(err)
			}
			found = e
		}
		if len(l.recent) >= maxRecent {
			clear(l.recent)
		}
		l.recent[int64(found.First)] = found
	}
	b, err := decodeBlock(found)
	if err != nil {
		return rec, nil, err
	}
	if d, err = l.read.document(b.docAt); err != nil {
		return rec, nil, err
	}
	rest := b.records
	for at := b.first; len(rest) > 0; at += rec.positions() {
		if rec, rest, err = nextRecord(rest, at); err != nil || rec.pos == pos {
			return rec, d, err
		}
	}
	return rec, nil, fmt.Errorf("the log has no record at row %d", pos)
}

// truncate writes a deletion of every row that a table has.
func (l *liveRows) truncate(table int) error {
	v, err := l.index(table)
	if err != nil {
		return err
	}
	r := &l.w.doc.Tables[table]
	keys := make([]string, 0, len(v.rows))
	for k := range v.rows {
		keys = append(keys, k)
	}
	slices.Sort(keys) // maps have no order, and a log is easier to look at with one
	for _, k := range keys {
		rec := record{kind: kindDelete, table: table, oldKind: oldRow}
		n := v.rows[k]
		if !v.whole {
			n, rec.oldKind = 1, oldKey
		}
		if rec.old, err = r.keyRow(v.key, []byte(k)); err != nil {
			return err
		}
		for range n {
			if err := l.w.add(&rec); err != nil {
				return err
			}
		}
	}
	l.forget(table)
	l.since[table] = l.w.at
	return nil
}

// keyRow is a row with nothing but what rows are told apart by.
func (r *relation) keyRow(key []int, packed []byte) ([]byte, error) {
	list, err := cells(nil, packed, len(key))
	if err != nil {
		return nil, err
	}
	var out []byte
	for i := range r.Columns {
		if at := slices.Index(key, i); at >= 0 {
			out = appendCell(out, list[at])
		} else {
			out = appendCell(out, nil)
		}
	}
	return out, nil
}

// fill replaces what an update left out. row is the new row, old what is said of the old one.
func (l *liveRows) fill(table int, c *changed) error {
	r := &l.w.doc.Tables[table]
	var left []string
	for i := range c.new {
		if c.new[i].kind != 'u' {
			continue
		}
		if i < len(c.old) && c.old[i].kind != 'u' && (c.oldKind == oldRow || r.Columns[i].Identity) {
			c.new[i] = c.old[i]
			continue
		}
		left = append(left, r.Columns[i].Name)
	}
	if len(left) == 0 {
		return nil
	}
	of := c.new
	if c.oldKind != oldNone {
		of = c.old
	}
	was, origins, err := l.row(table, tupleRow(nil, of))
	for i := range c.new {
		if c.new[i].kind != 'u' || err != nil {
			continue
		}
		if !origins[i].known {
			err = fmt.Errorf("column %s was added, or changed, after the row was written", r.Columns[i].Name)
			continue
		}
		if text := origins[i].of(was); text == nil {
			c.new[i] = tupleCell{kind: 'n'}
		} else {
			c.new[i] = tupleCell{kind: 't', text: bytes.Clone(text)}
		}
	}
	if err != nil {
		return fmt.Errorf("an update of table %s leaves out %s, which is stored out of line and did not change, and it cannot be looked up: %w: %w\nHint: ALTER TABLE %s REPLICA IDENTITY FULL, so that updates have all values; then drop the pipeline and start it again",
			r, strings.Join(left, ", "), err, microbatch.ErrRangeChanged, r.sql())
	}
	return nil
}

// tupleRow encodes a tuple; a value that is left out counts as NULL.
func tupleRow(dst []byte, list []tupleCell) []byte {
	for i := range list {
		if list[i].kind == 't' {
			dst = appendCell(dst, list[i].text)
		} else {
			dst = appendCell(dst, nil)
		}
	}
	return dst
}
