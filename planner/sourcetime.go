package planner

import (
	"strconv"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/planner/ddl"
)

// DefaultMaxFuture is how far into the future an event time may lie, seen from the batch that reads it, and
// still move the watermark.
const DefaultMaxFuture = 24 * time.Hour

// SeqPartitionShift is where _seq has a partition's ordinal: above its offset.
const SeqPartitionShift = 44

// timeOptions reads the options about event time that every connector has (ddl.SourceOptions).
func (p *planning) timeOptions(st *ddl.Source, in *SourceInput) error {
	in.MaxFuture = DefaultMaxFuture
	if st.Watermark == nil {
		in.MaxFuture = 0
	}
	var problems []error
	for _, o := range []struct {
		name string
		into *time.Duration
		off  string // the word for 0
	}{{ddl.AllowedLateness, &in.Lateness, ""}, {ddl.MaxFuture, &in.MaxFuture, "none"}, {ddl.IdleTimeout, &in.IdleTimeout, ""}} {
		option, given := st.With.Lookup(o.name)
		if !given {
			continue
		}
		text := option.Value
		if st.Watermark == nil {
			problems = append(problems, st.With.Errorf(o.name, "option %q is about the watermark, and source %q has none", o.name, in.Name).
				WithHint("add WATERMARK FOR column AS column - INTERVAL '5 seconds' behind the columns"))
			continue
		}
		if o.off != "" && strings.EqualFold(text, o.off) {
			*o.into = 0
			continue
		}
		d, err := ddl.ParseDuration(text)
		if err != nil || d < 0 || d == 0 && o.off != "" {
			hint := "write a number with its unit, as in '10 seconds', '5 minutes' or '1 day'"
			if o.off != "" {
				hint += ", or '" + o.off + "'"
			}
			problems = append(problems, st.With.Errorf(o.name, "option %q of source %q must be a duration, not %q", o.name, in.Name, option.Display()).WithHint("%s", hint))
			continue
		}
		*o.into = d
	}
	return ddl.Join(problems...)
}

// watermarkSQL is SourceInput.WatermarkSQL and PartitionWatermarkSQL.
//
// Why rows of the far future attest nothing: one row of the year 9999, from a device without a clock, would
// make every row after it late.
func watermarkSQL(in *SourceInput, expr string) (whole, perPartition string) {
	col := quoteIdent(in.Columns[in.EventTime].Name)
	early, later := "isfinite("+col+")", "0::BIGINT"
	if in.MaxFuture > 0 {
		latest := latestPlaceholder(in.Name)
		later = "count(*) FILTER (isfinite(" + col + ") AND " + col + " > " + latest + ")"
		early += " AND " + col + " <= " + latest
	}
	attested := "max(" + expr + ") FILTER (" + early + "), " + later + " FROM " + inputFunction(in.Name) + "()"
	return "SELECT " + attested, "SELECT _seq >> " + strconv.Itoa(SeqPartitionShift) + ", " + attested + " GROUP BY 1"
}
