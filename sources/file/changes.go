package file

import (
	"fmt"
	"strings"

	"github.com/sluice-sql/sluice/sources/decode"
)

// checkChanges returns what is wrong with the options of rows that are not just inserted.
func (o Options) checkChanges() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case o.Format == "changelog" && o.Encoding == "":
		bad("cannot tell the encoding of %s by its extension\nHint: add encoding = 'json', 'csv' or 'parquet'", o.Path)
	case o.Format == "debezium" && o.Encoding != "json":
		bad("encoding = '%s' is not how Debezium's events are written\nHint: remove it: they are read as JSON, one a line", o.Encoding)
	case o.Format == "changelog" && o.Encoding != "json" && o.Encoding != "csv" && o.Encoding != "parquet":
		bad("encoding = '%s' is not known\nHint: use 'json', 'csv' or 'parquet'", o.Encoding)
	}
	for _, u := range []struct{ option, value string }{{"timestamp_unit", o.TimestampUnit}, {"time_unit", o.TimeUnit}} {
		if _, ok := decode.Units[u.value]; !ok {
			bad("%s = '%s' is not known\nHint: use 'ms', 'us' or 'ns'", u.option, u.value)
		}
	}
	switch o.DecimalHandlingMode {
	case "", "precise", "string", "double":
	default:
		bad("decimal_handling_mode = '%s' is not known\nHint: use 'precise', 'string' or 'double'", o.DecimalHandlingMode)
	}
	for _, k := range o.Key {
		if k < 0 || k >= len(o.Columns) {
			bad("the primary key has column %d of %d", k+1, len(o.Columns))
		} else if c := o.Columns[k]; c.Type.IsNested() {
			bad("column %s: a %s cannot be part of the primary key\nHint: declare it VARCHAR, or take another key", c.Name, strings.ToUpper(c.Type.String()))
		}
	}
	return errs
}
