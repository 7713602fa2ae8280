package postgrescdc

import (
	"fmt"

	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// A writer gathers records and appends them to the log, whole transactions together where they come together.
// It belongs to one goroutine at a time.
type writer struct {
	log   *ingestlog.Log
	doc   document
	phase byte
	// lsn is that of the newest complete record; durable is the log's.
	lsn, durable LSN

	// docAt is where the log has doc, -1 if it must be written; docs are the places where it did so far.
	docAt   int64
	docs    []int64
	entries int // since docAt

	buf []byte
	at  int64 // position of the next record
	// positions are how many buf has.
	positions int64
	// open is the position where the transaction at hand begins, -1 if none is; openLen is what of buf is before
	// it, if its beginning is there.
	open    int64
	openLen int
	// rows is the position after the last record that changes a table and is durable.
	rows, newRows int64
}

const (
	// flushBytes is how much gathers at most before it is written, be the transaction complete or not.
	flushBytes = 256 << 10
	// docEvery is how many entries share a document at most.
	docEvery = 1024
)

func newWriter(log *ingestlog.Log, doc document) *writer {
	return &writer{log: log, doc: doc, phase: phaseNamed, docAt: -1, open: -1, at: int64(log.End())}
}

// add appends a record to what is gathered.
func (w *writer) add(r *record) error {
	switch r.kind {
	case kindBegin:
		w.open, w.openLen = w.at, len(w.buf)
	case kindCommit, kindEnd, kindBeat:
		w.open, w.lsn = -1, r.lsn
	}
	r.pos = w.at
	w.buf = appendRecord(w.buf, r)
	w.at += r.positions()
	w.positions += r.positions()
	if r.kind == kindCommit || r.kind == kindEnd {
		w.newRows = w.at
	}
	if len(w.buf) >= flushBytes {
		return w.flush()
	}
	return nil
}

// abandon forgets the transaction at hand: its connection is gone, and the server sends it again. What of it
// is in the log already, the next begin makes void.
func (w *writer) abandon() {
	if w.open < 0 {
		return
	}
	start := w.at - w.positions
	if w.open >= start {
		w.buf, w.at, w.positions = w.buf[:w.openLen], w.open, w.open-start
	} else {
		w.buf, w.at, w.positions = w.buf[:0], start, 0
	}
	w.open = -1
}

// A brokenError is one of the log, after which it takes nothing more.
type brokenError struct{ err error }

func (b *brokenError) Error() string { return b.err.Error() }
func (b *brokenError) Unwrap() error { return b.err }

// flush makes durable what is gathered.
func (w *writer) flush() error {
	if w.positions == 0 {
		return nil
	}
	first := w.at - w.positions
	b := block{first: first, phase: w.phase, lsn: w.lsn, open: w.open, docAt: w.docAt}
	if w.docAt < 0 || w.entries >= docEvery {
		b.docAt, b.doc = first, w.doc.encode()
	}
	body := appendHeader(make([]byte, 0, headerBytes+len(b.doc)+8+len(w.buf)), &b)
	body = append(body, w.buf...)
	if len(body) > ingestlog.MaxEntryBytes {
		return fmt.Errorf("a row takes %d bytes in the log, and %d are allowed\nHint: drop the pipeline, and start it again with a publication that leaves the large columns out: CREATE PUBLICATION … FOR TABLE … (columns)", len(body), ingestlog.MaxEntryBytes)
	}
	at, err := w.log.Append(ingestlog.Entry{Rows: w.positions, Body: body})
	if err != nil {
		return &brokenError{err}
	}
	if int64(at) != first {
		panic(fmt.Sprintf("postgrescdc: records of position %d went to %d", first, at))
	}
	if w.entries++; b.docAt == first {
		w.docAt, w.entries = first, 1
		w.docs = append(w.docs, first)
	}
	w.buf, w.positions, w.openLen, w.durable, w.rows = w.buf[:0], 0, 0, w.lsn, w.newRows
	return nil
}

// describe changes the document for the records to come.
func (w *writer) describe(doc document) error {
	if err := w.flush(); err != nil {
		return err
	}
	w.doc, w.docAt = doc, -1
	return nil
}
