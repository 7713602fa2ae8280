package planner

import (
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// BatchTimeKey is the METADATA key of the time at which a row's batch was planned: the one clock that a batch
// may read, because it is in the log. It never goes back from one batch to the next.
const BatchTimeKey = "batch_time"

// A MetadataKey is what METADATA FROM 'key' may name in the sources of one connector.
type MetadataKey struct {
	Key string
	// Doc says what it is, for messages: "the record's offset in its partition".
	Doc string
	// Types are those that a column of it may have, the usual one first.
	Types []vector.Type
	// OfRow says that a row and its later deletion have the same, as they do what names the row: so it may be in
	// sources whose rows are deleted by value.
	OfRow bool
}

// MetadataColumn is a column that the source fills in with what it knows about a row.
type MetadataColumn struct {
	Column int // its index in SourceInput.Columns
	Key    string
}

// metadataColumns finds the columns that the engine fills in, and those that the source does. Which keys the
// latter may have, CheckMetadata says.
func (p *planning) metadataColumns(st *ddl.Source, in *SourceInput) error {
	var problems []error
	for i, c := range st.Columns {
		switch t := in.Columns[i].Type; {
		case c.Metadata == "":
			continue
		case c.Metadata != BatchTimeKey:
			in.Metadata = append(in.Metadata, MetadataColumn{i, c.Metadata})
			continue
		case t.Kind != vector.Timestamp && t.Kind != vector.TimestampTZ:
			problems = append(problems, p.file.Errorf(c.Type.Span, "column %q is a %s, and '%s' is a TIMESTAMP", c.Name.Name, t, BatchTimeKey).
				WithHint("declare it as TIMESTAMP, which is in UTC, or TIMESTAMPTZ"))
		case in.Changes == Weighted:
			problems = append(problems, p.file.Errorf(c.Span, "column %q: a source whose rows are deleted by value cannot have '%s'", c.Name.Name, BatchTimeKey).
				WithDetail("the row and its deletion are in different batches, and would differ"))
		}
		in.BatchTime = append(in.BatchTime, i)
	}
	for _, k := range st.PrimaryKey {
		for _, i := range in.BatchTime {
			if st.Columns[i].Name.Key() == k.Key() {
				problems = append(problems, p.file.Errorf(k.Span, "the primary key has column %q, which is not in the source's rows", k.Name))
			}
		}
	}
	if len(in.BatchTime) == len(in.Columns) {
		problems = append(problems, p.file.Errorf(st.Name.Span, "source %q has no columns of its own", in.Name))
	}
	return ddl.Join(problems...)
}

// CheckMetadata checks a source's METADATA columns against the keys of its connector. A source without Columns,
// of a file that could not be planned, has its keys checked and not its types.
func CheckMetadata(f *ddl.File, s Source, connector string, keys []MetadataKey) error {
	var problems []error
	for i, c := range s.Decl.Columns {
		if c.Metadata == "" || c.Metadata == BatchTimeKey {
			continue
		}
		at := slices.IndexFunc(keys, func(k MetadataKey) bool { return k.Key == c.Metadata })
		if at < 0 {
			problems = append(problems, unknownKey(f, c, connector, keys))
			continue
		}
		key := keys[at]
		if !key.OfRow && sourceChanges(s.Decl) == Weighted {
			problems = append(problems, f.Errorf(c.Span, "column %q: a source whose rows are deleted by value cannot have '%s'", c.Name.Name, key.Key).
				WithDetail("it is another in the row than in its deletion").
				WithHint("declare a PRIMARY KEY, by which rows are then replaced"))
		}
		if i < len(s.Columns) && !slices.ContainsFunc(key.Types, s.Columns[i].Type.Equal) {
			problems = append(problems, f.Errorf(c.Type.Span, "column %q is a %s, and '%s' is a %s", c.Name.Name, s.Columns[i].Type, key.Key, key.Types[0]).
				WithDetail("%s", key.Doc).
				WithHint("declare it as %s", typeList(key.Types)))
		}
	}
	return ddl.Join(problems...)
}

func unknownKey(f *ddl.File, c ddl.Column, connector string, keys []MetadataKey) error {
	names := []string{BatchTimeKey}
	list := []string{"'" + BatchTimeKey + "', the time at which the row's batch was planned"}
	for _, k := range keys {
		names = append(names, k.Key)
		list = append(list, "'"+k.Key+"', "+k.Doc)
	}
	err := f.Errorf(c.MetadataSpan, "connector '%s' has no metadata %q", connector, c.Metadata)
	if best := ddl.Suggest(c.Metadata, names); best != "" {
		return err.WithHint("did you mean '%s'?", best)
	}
	if len(list) == 1 {
		return err.WithHint("the only key is %s", list[0])
	}
	return err.WithHint("the keys are %s", strings.Join(list, "; "))
}

func typeList(types []vector.Type) string {
	var names []string
	for _, t := range types {
		names = append(names, t.String())
	}
	return strings.Join(names, " or ")
}

// ReadColumns are the declared columns that a source's rows have: all but those that the engine fills in.
func (s *Source) ReadColumns() []vector.Field {
	var out []vector.Field
	for _, i := range s.readColumns() {
		out = append(out, s.Columns[i])
	}
	return out
}

// ReadMetadata says of each of ReadColumns which METADATA key it has; "" for those that are in the data.
func (s *Source) ReadMetadata() []string {
	var out []string
	for _, i := range s.readColumns() {
		key := ""
		if s.Decl != nil && i < len(s.Decl.Columns) {
			key = s.Decl.Columns[i].Metadata
		}
		out = append(out, key)
	}
	return out
}

func (s *Source) readColumns() (read []int) {
	for i := range s.Columns {
		if s.Decl == nil || i >= len(s.Decl.Columns) || s.Decl.Columns[i].Metadata != BatchTimeKey {
			read = append(read, i)
		}
	}
	return read
}

// clocks are the functions that tell the time.
var clocks = map[string]bool{"now": true, "get_current_timestamp": true, "current_timestamp": true, "transaction_timestamp": true, "current_date": true,
	"today": true, "current_time": true, "get_current_time": true, "current_localtime": true, "current_localtimestamp": true, "age": true}

// insteadOf says what to write in place of a function that a replay could not repeat.
func insteadOf(function string) string {
	if clocks[function] {
		return "use the source's event time, or declare a column p_time TIMESTAMP METADATA FROM '" + BatchTimeKey + "' in the source: the time of the row's batch"
	}
	return "use a column of the source instead, such as its event time"
}
