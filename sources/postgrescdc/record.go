package postgrescdc

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// What the ingest log holds. An entry's body is a header and records:
//
//	 0         1       2       10       18       26
//	 +---------+-------+-------+--------+--------+-----------------------+---------
//	 | version | phase | LSN   | open   | doc at | doc, if doc at = here | records
//	 +---------+-------+-------+--------+--------+-----------------------+---------
//
//	LSN     every transaction that ends at or before it is in the log, or says nothing of the tables
//	open    the position where a transaction begins that does not end in this entry, or -1
//	doc at  the position of the entry with the document that describes the tables
//
// A record is its length, its kind and what belongs to it; each takes one position, an update two.
const (
	entryVersion = 1
	headerBytes  = 26
)

// The phases of a log.
const (
	phaseNamed    = 'N' // the slot and the publication are about to be made
	phaseSnapshot = 'S' // the tables are being copied
	phaseStream   = 'C' // the snapshot is complete
)

// The kinds of records.
const (
	kindNamed  = 'n'
	kindCopied = 's' // table, row: of the snapshot
	kindEnd    = 'e' // LSN: the snapshot is complete, as of it
	kindBegin  = 'b' // LSN and time of the commit: what a transaction before left open never happened
	kindInsert = 'i' // table, row
	kindUpdate = 'u' // table, what is said of the old row, new row
	kindDelete = 'd' // table, what is said of the old row
	kindCommit = 'c' // LSN after the commit
	kindBeat   = 'h' // LSN: nothing happened up to it
)

// What is said of an old row.
const (
	oldNone = 0
	oldKey  = 'K' // the columns of the replica identity; the others are NULL
	oldRow  = 'O' // all of it
)

var le = binary.LittleEndian

// A document describes what an entry's records are about. It is written anew from time to time, so that the
// log's beginning can be deleted.
type document struct {
	// Pipeline is whose slot it is. Another pipeline has this log when it was made from a savepoint.
	Pipeline    string `json:"pipeline"`
	Slot        string `json:"slot"`
	Publication string `json:"publication"`
	// MadePublication says that Sluice created it and may drop it; the slot is always Sluice's own.
	MadePublication bool       `json:"made_publication"`
	System          string     `json:"system"` // the server's identifier
	Database        string     `json:"database"`
	Tables          []relation `json:"tables"`
}

// A relation is a table as it is when the records are written.
type relation struct {
	OID      uint32   `json:"oid"`
	Schema   string   `json:"schema"`
	Name     string   `json:"name"`
	Identity string   `json:"identity"` // d, i or f, as in pg_class.relreplident
	Columns  []column `json:"columns"`
	// Member is the row of pg_publication_rel, 0 if the publication has the table by its schema or with all: a table that is
	// taken out and added again is another member.
	Member uint32 `json:"member,omitempty"`
	// Sources are the declared names of those who read it, Key the columns of their PRIMARY KEY.
	Sources []string `json:"sources"`
	Key     []string `json:"key,omitempty"`
	// File is the table's file on the server, another when it was written anew; Highest the highest number of a column. Both
	// are as of when the server was seen to have just these columns.
	File    uint32 `json:"file,omitempty"`
	Highest int16  `json:"highest,omitempty"`

	read []column // what readColumns found
}

type column struct {
	Name string `json:"name"`
	// Num is pg_attribute.attnum: a column that was dropped and added again has another.
	Num  int16  `json:"num"`
	Type uint32 `json:"type"`
	Mod  int32  `json:"mod"`
	// Identity says that the column is of the replica identity.
	Identity bool `json:"identity,omitempty"`
	// Since is the position of the description with which it became what it is, 0 if it was from the beginning on; Before is
	// what rows from before that have in it.
	Since  int64  `json:"since,omitempty"`
	Before string `json:"before,omitempty"`
}

func (r *relation) String() string { return r.Schema + "." + r.Name }

// sql is the name as in SQL.
func (r *relation) sql() string { return quoteIdent(r.Schema) + "." + quoteIdent(r.Name) }

func (r *relation) find(name string) int {
	for i, c := range r.Columns {
		if c.Name == name {
			return i
		}
	}
	return -1
}

// A record is decoded without copying.
type record struct {
	kind  byte
	pos   int64
	table int
	// old and new hold cells.
	oldKind  byte
	old, new []byte
	// lsn is of commits, snapshot ends and beats; of a begin it is that of the commit to come, at its time.
	lsn   LSN
	at    int64 // µs since 1970
	bytes int   // encoded
	// doc describes its table, if that is another than the one that its transaction ends with.
	doc *document
}

// positions is how many the record takes.
func (r *record) positions() int64 {
	if r.kind == kindUpdate {
		return 2
	}
	return 1
}

// isRow says that the record changes a table.
func (r *record) isRow() bool {
	switch r.kind {
	case kindCopied, kindInsert, kindUpdate, kindDelete:
		return true
	}
	return false
}

// A cell is a value's text; nil is NULL.
func appendCell(dst, cell []byte) []byte {
	if cell == nil {
		return append(dst, 0)
	}
	return append(binary.AppendUvarint(dst, uint64(len(cell))+1), cell...)
}

var errCut = errors.New("a record is cut short")

// cells splits a row into n cells, which alias it.
func cells(dst [][]byte, row []byte, n int) ([][]byte, error) {
	dst = dst[:0]
	for range n {
		size, used := binary.Uvarint(row)
		if used <= 0 || size > uint64(len(row)-used)+1 {
			return nil, errCut
		}
		row = row[used:]
		if size == 0 {
			dst = append(dst, nil)
			continue
		}
		dst = append(dst, row[:size-1:size-1])
		row = row[size-1:]
	}
	if len(row) > 0 {
		return nil, errCut
	}
	return dst, nil
}

// appendRecord appends an encoded record.
func appendRecord(dst []byte, r *record) []byte {
	var body []byte
	switch r.kind {
	case kindEnd, kindCommit, kindBeat, kindBegin:
		body = le.AppendUint64(body, uint64(r.lsn))
		if r.kind == kindBegin {
			body = le.AppendUint64(body, uint64(r.at))
		}
	case kindCopied, kindInsert, kindUpdate, kindDelete:
		body = binary.AppendUvarint(body, uint64(r.table))
		if r.kind == kindUpdate || r.kind == kindDelete {
			body = append(body, r.oldKind)
			body = binary.AppendUvarint(body, uint64(len(r.old)))
			body = append(body, r.old...)
		}
		body = append(body, r.new...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(body))+1)
	dst = append(dst, r.kind)
	return append(dst, body...)
}

// nextRecord decodes the record at the front of b and returns what follows it.
func nextRecord(b []byte, pos int64) (r record, rest []byte, err error) {
	size, used := binary.Uvarint(b)
	if used <= 0 || size == 0 || size > uint64(len(b)-used) {
		return r, nil, errCut
	}
	rest = b[used+int(size):]
	b = b[used : used+int(size)]
	r = record{kind: b[0], pos: pos, bytes: used + int(size)}
	b = b[1:]
	switch r.kind {
	case kindNamed:
		return r, rest, nil
	case kindEnd, kindCommit, kindBeat, kindBegin:
		if len(b) < 8 || r.kind == kindBegin && len(b) < 16 {
			return r, nil, errCut
		}
		r.lsn = LSN(le.Uint64(b))
		if r.kind == kindBegin {
			r.at = int64(le.Uint64(b[8:]))
		}
		return r, rest, nil
	case kindCopied, kindInsert, kindUpdate, kindDelete:
	default:
		return r, nil, fmt.Errorf("a record of kind %q is not known to this release", r.kind)
	}
	table, used := binary.Uvarint(b)
	if used <= 0 {
		return r, nil, errCut
	}
	r.table, b = int(table), b[used:]
	if r.kind == kindUpdate || r.kind == kindDelete {
		if len(b) < 1 {
			return r, nil, errCut
		}
		r.oldKind = b[0]
		n, used := binary.Uvarint(b[1:])
		if used <= 0 || n > uint64(len(b)-1-used) {
			return r, nil, errCut
		}
		r.old, b = b[1+used:1+used+int(n)], b[1+used+int(n):]
	}
	r.new = b
	return r, rest, nil
}

// A block is an entry's header, decoded.
type block struct {
	first   int64
	phase   byte
	lsn     LSN
	open    int64
	docAt   int64
	doc     []byte // only where docAt = first
	records []byte
}

func appendHeader(dst []byte, b *block) []byte {
	dst = append(dst, entryVersion, b.phase)
	dst = le.AppendUint64(dst, uint64(b.lsn))
	dst = le.AppendUint64(dst, uint64(b.open))
	dst = le.AppendUint64(dst, uint64(b.docAt))
	if b.docAt == b.first {
		dst = binary.AppendUvarint(dst, uint64(len(b.doc)))
		dst = append(dst, b.doc...)
	}
	return dst
}

func decodeBlock(e ingestlog.Entry) (b block, err error) {
	if len(e.Body) < headerBytes {
		return b, errCut
	}
	if e.Body[0] != entryVersion {
		return b, fmt.Errorf("an entry of format version %d is not known to this release", e.Body[0])
	}
	b = block{first: int64(e.First), phase: e.Body[1], lsn: LSN(le.Uint64(e.Body[2:])), open: int64(le.Uint64(e.Body[10:])),
		docAt: int64(le.Uint64(e.Body[18:])), records: e.Body[headerBytes:]}
	if b.docAt == b.first {
		n, used := binary.Uvarint(b.records)
		if used <= 0 || n > uint64(len(b.records)-used) {
			return b, errCut
		}
		b.doc, b.records = b.records[used:used+int(n)], b.records[used+int(n):]
	}
	return b, nil
}

func (d *document) encode() []byte {
	b, err := json.Marshal(d)
	if err != nil {
		panic("postgrescdc: a document cannot be encoded: " + err.Error())
	}
	return b
}
