package file

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/planner"
)

// Formats, modes and compressions that Options knows.
const (
	FormatJSON    = "json"
	FormatCSV     = "csv"
	FormatParquet = "parquet"

	ModeAppend    = "append"
	ModeChangelog = "changelog"
)

// WeightColumn is the last column of a changelog: +n for a row that came n times, -n for one that went.
const WeightColumn = "_weight"

// Compressions lists what each format can be compressed with, the default first.
var Compressions = map[string][]string{
	FormatJSON:    {"none", "gzip", "zstd"},
	FormatCSV:     {"none", "gzip", "zstd"},
	FormatParquet: {"snappy", "zstd", "gzip", "lz4_raw", "none"},
}

// Options configure a sink.
type Options struct {
	// Dir is the directory, which is made if it is not there. Required.
	Dir string
	// Layout says what the files are like.
	Layout Layout
	// DeadLetters keeps refused rows beside the batch's rows. Defaults to leaving that to another sink.
	DeadLetters bool
	// TempDir is where Parquet files are made. Defaults to the system's.
	TempDir string
	// LockTimeout bounds the wait for another process that holds the lock. Defaults to 30 s.
	LockTimeout time.Duration
	// FS is the file system. Defaults to the machine's, with modes that the umask allows.
	FS vfs.FS
}

// Layout is what must stay the same over all batches of a directory.
type Layout struct {
	// Format is "json" (one object a line), "csv" or "parquet". Defaults to "json".
	Format string `json:"format"`
	// Mode is "append", which takes append-only views, or "changelog", which takes any and adds WeightColumn.
	// Defaults to "append".
	Mode string `json:"mode"`
	// PartitionBy names the columns that make the path. Defaults to none.
	PartitionBy []string `json:"partition_by,omitempty"`
	// Compression is one of Compressions. Defaults to the format's first.
	Compression string `json:"compression"`
	// CSV is for format csv only.
	CSV *CSV `json:"csv,omitempty"`
}

// CSV describes a CSV dialect.
type CSV struct {
	// NoHeader leaves out the line with the columns' names. Defaults to false.
	NoHeader bool `json:"no_header,omitempty"`
	// Delimiter separates fields, one byte. Defaults to ",".
	Delimiter string `json:"delimiter"`
	// Quote encloses fields, one byte, and is doubled inside them. Defaults to the double quote.
	Quote string `json:"quote"`
	// Null is how NULL is written, without quotes. Defaults to "", the empty field.
	Null string `json:"null"`
}

// WithDefaults fills in the defaults.
func (l Layout) WithDefaults() Layout {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&l.Format, FormatJSON)
	def(&l.Mode, ModeAppend)
	if len(l.PartitionBy) == 0 {
		l.PartitionBy = nil
	}
	if c := Compressions[l.Format]; c != nil {
		def(&l.Compression, c[0])
	}
	if l.Format == FormatCSV {
		c := CSV{}
		if l.CSV != nil {
			c = *l.CSV
		}
		def(&c.Delimiter, ",")
		def(&c.Quote, `"`)
		l.CSV = &c
	}
	return l
}

// Check returns all that is wrong with a layout for an output, joined.
func (l Layout) Check(out planner.Output) error {
	return errors.Join(append(l.CheckColumns(out), l.CheckOptions(out))...)
}

// CheckColumns says which columns the files cannot have.
func (l Layout) CheckColumns(out planner.Output) (errs []error) {
	l = l.WithDefaults()
	for _, c := range out.Columns {
		if hint := unsupported(l.Format, c.Type); hint != "" {
			errs = append(errs, fmt.Errorf("column %q: %s cannot be written to %s files\nHint: %s", c.Name, c.Type, l.Format, hint))
		}
		if l.Mode == ModeChangelog && strings.EqualFold(c.Name, WeightColumn) {
			errs = append(errs, fmt.Errorf("column %q is what a changelog adds\nHint: give it another name in the view", c.Name))
		}
	}
	return errs
}

// CheckOptions returns what is wrong with the options, joined. Each message begins with the option that it is
// about and " = ".
func (l Layout) CheckOptions(out planner.Output) error {
	l = l.WithDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if Compressions[l.Format] == nil {
		return fmt.Errorf("format = '%s' is not known\nHint: use 'json', 'csv' or 'parquet'", l.Format)
	}
	if !slices.Contains(Compressions[l.Format], l.Compression) {
		bad("compression = '%s' is not for %s files\nHint: use '%s'", l.Compression, l.Format, strings.Join(Compressions[l.Format], "', '"))
	}
	if l.CSV != nil {
		errs = append(errs, l.CSV.check()...)
	}
	_, err := l.partitionColumns(out)
	return errors.Join(append(errs, err)...)
}

// unsupported says what to do with a type that has no place in a format. What is left can be read back by
// the source of the same name with the same values.
func unsupported(format string, t vector.Type) string {
	switch {
	case t.Kind == vector.Bit || t.Kind == vector.Bignum || t.Kind == vector.Null:
		return "cast it to VARCHAR in the view"
	case t.Kind == vector.Blob && format == FormatJSON:
		return "write it as to_base64(…) or hex(…) in the view: JSON has texts only"
	case t.IsNested() && format == FormatCSV:
		return "cast it to VARCHAR or to_json() it in the view, or use format = 'json'"
	case t.Kind == vector.Union && format == FormatParquet:
		return "cast it to VARCHAR in the view, or use format = 'json'"
	}
	for _, c := range t.ChildTypes() {
		if why := unsupported(format, c); why != "" {
			return why
		}
	}
	return ""
}

func (c *CSV) check() (errs []error) {
	for _, f := range []struct{ option, value string }{{"delimiter", c.Delimiter}, {"quote", c.Quote}} {
		if len(f.value) != 1 || f.value == "\n" || f.value == "\r" {
			errs = append(errs, fmt.Errorf("%s = %q must be one byte and no line end", f.option, f.value))
		}
	}
	if c.Delimiter == c.Quote {
		errs = append(errs, fmt.Errorf("delimiter = %q is the quote as well", c.Delimiter))
	}
	if strings.ContainsAny(c.Null, c.Delimiter+c.Quote+"\r\n") {
		errs = append(errs, fmt.Errorf("null = %q would have to be quoted, and a quoted field is not NULL", c.Null))
	}
	return errs
}

// partitionColumns finds the columns of the path.
func (l Layout) partitionColumns(out planner.Output) ([]int, error) {
	var at []int
	var errs []error
	for _, name := range l.PartitionBy {
		i := slices.IndexFunc(out.Columns, func(c vector.Field) bool { return strings.EqualFold(c.Name, name) })
		switch {
		case i < 0:
			names := make([]string, len(out.Columns))
			for j, c := range out.Columns {
				names[j] = c.Name
			}
			errs = append(errs, fmt.Errorf("partition_by = %q is not a column of view %s\nHint: the columns are %s", name, out.Name, strings.Join(names, ", ")))
		case out.Columns[i].Type.IsNested():
			errs = append(errs, fmt.Errorf("partition_by = %q is a %s, which is no name for a directory\nHint: partition by a text or a number", name, out.Columns[i].Type))
		case slices.Contains(at, i):
			errs = append(errs, fmt.Errorf("partition_by = %q is named twice", name))
		default:
			at = append(at, i)
		}
	}
	return at, errors.Join(errs...)
}

func (o *Options) setDefaults() error {
	if o.Dir == "" {
		return errors.New("file sink: no directory is given")
	}
	o.Dir = filepath.Clean(o.Dir)
	o.Layout = o.Layout.WithDefaults()
	if o.LockTimeout == 0 {
		o.LockTimeout = 30 * time.Second
	}
	if o.FS == nil {
		o.FS = vfs.OS{Shared: true}
	}
	return nil
}
