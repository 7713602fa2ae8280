package postgrescdc

import (
	"context"
	"fmt"
)

// message handles one message of the output plugin.
func (s *stream) message(ctx context.Context, kind byte, b []byte) error {
	switch kind {
	case 'B':
		at, micros, err := decodeBegin(b)
		s.begun, s.skip = &record{kind: kindBegin, lsn: at, at: micros}, at < s.w.lsn
		return err
	case 'C':
		return s.commit(b)
	case 'R':
		d, err := decodeRelation(b)
		if err != nil {
			return err
		}
		return s.relation(ctx, d)
	case 'I', 'U', 'D':
		c, err := decodeChange(kind, b)
		if err != nil {
			return err
		}
		return s.change(&c)
	case 'T':
		oids, err := decodeTruncate(b)
		if err != nil {
			return err
		}
		return s.truncate(oids)
	case 'O', 'Y', 'M': // origins, types and messages say nothing of rows
		return nil
	}
	return fmt.Errorf("the server sent a message of kind %q, which is not known to this release", kind)
}

// begin writes the begin of the transaction at hand, if that was not done.
func (s *stream) begin() error {
	if s.begun == nil {
		return fmt.Errorf("the server sent a change outside of a transaction")
	}
	if s.w.open >= 0 {
		return nil
	}
	return s.w.add(s.begun)
}

func (s *stream) commit(b []byte) error {
	end, err := decodeCommit(b)
	if err != nil {
		return err
	}
	if s.begun = nil; s.w.open >= 0 {
		return s.w.add(&record{kind: kindCommit, lsn: end})
	}
	if !s.skip {
		s.quiet = max(s.quiet, end) // nothing of it was for us
	}
	s.skip = false
	return nil
}

// change writes one row's change.
func (s *stream) change(c *changed) error {
	table, known := s.tables[c.oid]
	if !known {
		return fmt.Errorf("the server sent a change of a table that it did not describe")
	}
	if table < 0 || s.skip {
		return nil
	}
	if err := s.begin(); err != nil {
		return err
	}
	if n := len(s.w.doc.Tables[table].Columns); c.new != nil && len(c.new) != n || c.old != nil && len(c.old) != n {
		return fmt.Errorf("the server sent a row of table %s with other columns than it described", &s.w.doc.Tables[table])
	}
	rec := record{kind: kindInsert, table: table, oldKind: c.oldKind}
	switch c.kind {
	case 'U':
		rec.kind = kindUpdate
		if err := s.live.fill(table, c); err != nil {
			return err
		}
	case 'D':
		rec.kind = kindDelete
	}
	if c.old != nil {
		rec.old = tupleRow(nil, c.old)
	}
	if c.new != nil {
		rec.new = tupleRow(nil, c.new)
	}
	if err := s.w.add(&rec); err != nil {
		return err
	}
	return s.live.note(&rec)
}

// truncate writes the deletion of every row.
func (s *stream) truncate(oids []uint32) error {
	if s.skip {
		return nil
	}
	for _, oid := range oids {
		table, known := s.tables[oid]
		if !known || table < 0 {
			continue
		}
		if err := s.begin(); err != nil {
			return err
		}
		if err := s.live.truncate(table); err != nil {
			return fmt.Errorf("apply a TRUNCATE of table %s: %w", &s.w.doc.Tables[table], err)
		}
	}
	return nil
}
