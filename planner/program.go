package planner

import (
	"slices"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A Program is what one micro-batch of a pipeline runs: SQL statements over the batch's input, keyed
// state between them, and the output deltas at the end. It is data: the planner makes it, explain
// prints it, microbatch executes it.
//
// The SQL names its surroundings by convention:
//
//	in_SOURCE()        table function: the batch's accepted rows, the declared columns, _w unless the source
//	                   is append-only, and then _seq
//	STATE_get(k…)      scalar: the state row with that unique key as a STRUCT, or NULL
//	STATE_rows(p…)     scalar: LIST of STRUCT, the state rows with that key prefix (empty if none)
//	STATE_scan()       table function: every state row, in insertion order
//	STATE_due()        table function: the state rows that will be evicted at the end of the batch
//	{{watermark S}}    instants of the batch, see Placeholders
//	_w BIGINT          the last column of every delta: +n inserted, −n deleted
//	_seq BIGINT        arrival order of a source row: partition ordinal, then offset
type Program struct {
	// Setup creates macros and views once, after the functions below exist.
	Setup   []string
	Sources []SourceInput
	States  []State
	Steps   []Step
	Outputs []Output
	// Fingerprint identifies what the program computes and how its state is laid out, hex.
	Fingerprint string
}

// SourceInput is a source as the program reads it.
type SourceInput struct {
	Name    string
	Columns []vector.Field
	// Table says that it is a CREATE TABLE: no stream is read while it has rows that are not.
	Table bool `json:",omitempty"`
	// Static tables never change once they are read to their end.
	Static bool `json:",omitempty"`
	// EventTime is the index of the watermark column, -1 without a watermark.
	EventTime int
	// WatermarkSQL selects one row: the greatest watermark that in_SOURCE() attests, of the event-time
	// column's type, NULL when there is none; and how many rows attest nothing, because they are later than
	// {{latest SOURCE}}. Empty without a watermark.
	WatermarkSQL string
	// PartitionWatermarkSQL selects the same a partition, with the partition's ordinal before it: for sources
	// whose partitions have watermarks of their own.
	PartitionWatermarkSQL string `json:"-"`
	// Lateness is how far behind the watermark a row may be and still count.
	Lateness time.Duration `json:",omitempty"`
	// MaxFuture is how far after the batch's time a row may be and still move the watermark; 0: any.
	MaxFuture time.Duration `json:",omitempty"`
	// BatchTime holds the indexes of the columns that the engine fills with the batch's time; the source's
	// rows lack them.
	BatchTime []int `json:",omitempty"`
	// Metadata are the columns that the source fills in with what it knows about a row, and not from the row.
	Metadata []MetadataColumn `json:",omitempty"`
	// IdleTimeout is how long the source may deliver nothing and still hold others back; 0: forever. It is
	// no part of what the program computes: what comes of it is in the log.
	IdleTimeout time.Duration `json:"-"`
	// Changes says what a row of the source means. Unless it is AppendOnly, rows carry a weight.
	Changes SourceChanges
	// Key holds the indexes of the PRIMARY KEY's columns, for Keyed; empty otherwise.
	Key []int

	prelude *prelude
	// about says for explain where a table comes from.
	about string
}

// SourceChanges says what the rows of a source do to the relation that the source stands for.
type SourceChanges uint8

const (
	// AppendOnly: every row is inserted. Rows are the declared columns, then _seq.
	AppendOnly SourceChanges = iota
	// Weighted: every row has a weight, +n inserted and −n deleted, never 0. Rows are the declared columns,
	// then _w BIGINT, then _seq. An update is two adjacent rows of equal _seq, the old one (−1) and the new
	// one (+1). A deleted row must be there, else the pipeline stops.
	Weighted
	// Keyed: every row replaces the row of its PRIMARY KEY, or deletes it. Rows are as for Weighted; _w > 0
	// means that this is the row now, _w < 0 that the row with this key is gone, and then columns outside
	// the key may be NULL. What was there before need not be known. _seq is distinct.
	Keyed
)

func (c SourceChanges) String() string {
	return [...]string{"append-only", "weighted", "keyed"}[c]
}

// HasWeight says that rows carry _w before _seq.
func (s *SourceInput) HasWeight() bool { return s.Changes != AppendOnly }

// Fields are the columns of in_SOURCE(): the declared ones and the hidden ones after them.
func (s *SourceInput) Fields() []vector.Field {
	out := slices.Clone(s.Columns)
	if s.HasWeight() {
		out = append(out, vector.Field{Name: "_w", Type: vector.Of(vector.Int64)})
	}
	return append(out, vector.Field{Name: "_seq", Type: vector.Of(vector.Int64)})
}

// State is a keyed table that outlives the batch.
type State struct {
	// Name is a SQL identifier that needs no quotes.
	Name string
	Cols []vector.Field
	// NKey columns at the front are the unique key; NPrefix > 0 of them can be looked up with STATE_rows.
	NKey, NPrefix int
	// Weighted states are Z-sets: all columns but the last are the key, the last is _w BIGINT, and a row
	// whose weight reaches 0 is gone.
	Weighted bool
	// EvictColumn is the index of the column that orders rows in event time, -1 if the state is never
	// evicted; rows whose value is less than the result of EvictSQL can never be touched again. EvictSQL
	// is an expression over the placeholders of Placeholders.
	EvictColumn int
	EvictSQL    string
	// Waiting says that its rows are a view's that wait for their window to close.
	Waiting bool `json:",omitempty"`
	// Bound says what limits the state's size, for explain.
	Bound string
	// OneKey says that all rows have the same key prefix: a lookup reads them all.
	OneKey bool `json:",omitempty"`
	// Never says why no watermark evicts it, for explain.
	Never string `json:"-"`
}

// oneRow is the bound of a state that never has more.
const oneRow = "one row"

// StepKind says what is done with a step's rows.
type StepKind uint8

const (
	// Materialize runs CREATE OR REPLACE TEMP TABLE Target AS SQL.
	Materialize StepKind = iota
	// Apply feeds the rows to state Target. Columns are the state's; for an unweighted state a last
	// column _live BOOLEAN says upsert (true) or delete by key (false); for a weighted state the last
	// column is the weight to add. Keys are distinct within one Apply.
	Apply
	// Emit appends the rows to output Target's delta. Columns are the output's, then _w BIGINT.
	Emit
	// Check fails the batch if there are rows: source Target deletes rows that are not there. The one column
	// is the _seq of such a row.
	Check
)

// Step is one statement of a program.
type Step struct {
	Kind   StepKind
	Target string
	SQL    string
}

// ChangeMode is the changelog mode of a node's output.
type ChangeMode uint8

const (
	// Append: rows are only ever inserted.
	Append ChangeMode = iota
	// Upsert: at most one row a key at any time; a batch's delta has at most one row a key, with
	// _w = +1 to insert or replace and -1 to delete.
	Upsert
	// Multiset: any row may be inserted or deleted any number of times; a batch's delta is netted to at
	// most one row per distinct tuple.
	Multiset
)

func (m ChangeMode) String() string { return [...]string{"append", "upsert", "multiset"}[m] }

// Output is a materialized view's changelog.
type Output struct {
	Name    string
	Columns []vector.Field
	Mode    ChangeMode
	// Key holds the indexes of the key columns, for Upsert; empty means a single row (an ungrouped
	// aggregate).
	Key []int
	// Keyed says of a Multiset that Key is its key all the same: what a batch deletes and inserts of one key is an
	// update. Only sinks with change events ask for it.
	Keyed bool `json:",omitempty"`
}
