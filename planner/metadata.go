package planner

import (
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// BatchTimeKey is the METADATA key of the time at which a row's batch was planned: the one clock that a batch
// may read, because it is in the log. It never goes back from one batch to the next.
const BatchTimeKey = "batch_time"

// metadataColumns finds the columns that the engine fills in.
func (p *planning) metadataColumns(st *ddl.Source, in *SourceInput) error {
	var problems []error
	for i, c := range st.Columns {
		switch t := in.Columns[i].Type; {
		case c.Metadata == "":
			continue
		case c.Metadata != BatchTimeKey:
			problems = append(problems, p.file.Errorf(c.MetadataSpan, "there is no metadata %q", c.Metadata).
				WithHint("the keys are '%s', the time at which the row's batch was planned", BatchTimeKey))
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

// ReadColumns are the declared columns that a source's rows have: all but the metadata.
func (s *Source) ReadColumns() []vector.Field {
	var out []vector.Field
	for i, c := range s.Columns {
		if s.Decl == nil || i >= len(s.Decl.Columns) || s.Decl.Columns[i].Metadata == "" {
			out = append(out, c)
		}
	}
	return out
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
